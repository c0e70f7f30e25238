"""The sets, one module each: `SET` in a module of this folder is an `EvalSet` of that name."""
