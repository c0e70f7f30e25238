"""Reads the metadata and the tensor list of a GGUF file, for /api/show.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md (version 3, little endian).
"""

import functools
import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Type number -> struct code; 8 is a string and 9 an array.
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q"}
_SCALARS[12] = "d"
_STRING, _ARRAY = 8, 9
_TENSOR_TYPES = {0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 6: "Q5_0", 7: "Q5_1", 8: "Q8_0"}


@dataclass(frozen=True)
class GgufHeader:
    """What /api/show says about a file. Arrays are None, as Ollama shows them by default."""

    metadata: dict[str, Any]
    tensors: tuple[dict[str, Any], ...]
    parameter_count: int


class _Reader:
    def __init__(self, data: mmap.mmap) -> None:
        self._data = data
        self._at = 4  # past the magic

    def scalar(self, code: str) -> Any:
        layout = struct.Struct("<" + code)
        (value,) = layout.unpack_from(self._data, self._at)
        self._at += layout.size
        return value

    def string(self) -> str:
        length = self.scalar("Q")
        self._at += length
        return self._data[self._at - length : self._at].decode(errors="replace")

    def value(self, kind: int) -> Any:
        if kind == _STRING:
            return self.string()
        if kind == _ARRAY:
            self._skip_array()
            return None
        number = self.scalar(_SCALARS[kind])
        return _shortest(number) if kind == 6 else number

    def _skip_array(self) -> None:
        kind, count = self.scalar("I"), self.scalar("Q")
        if kind in _SCALARS:
            self._at += count * struct.calcsize("<" + _SCALARS[kind])
            return
        for _ in range(count):
            self.value(kind)


@functools.cache
def read_header(path: Path) -> GgufHeader:
    """Read the header of the file at `path`; ValueError if it is not a GGUF file."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if data[:4] != b"GGUF":
            raise ValueError(f"{path.name} is not a GGUF file")
        reader = _Reader(data)
        reader.scalar("I")  # version
        tensor_count, pair_count = reader.scalar("Q"), reader.scalar("Q")
        metadata = {reader.string(): reader.value(reader.scalar("I")) for _ in range(pair_count)}
        tensors = tuple(_tensor(reader) for _ in range(tensor_count))
    return GgufHeader(metadata, tensors, sum(_elements(one["shape"]) for one in tensors))


def _tensor(reader: _Reader) -> dict[str, Any]:
    name = reader.string()
    shape = [reader.scalar("Q") for _ in range(reader.scalar("I"))]
    kind = reader.scalar("I")
    reader.scalar("Q")  # offset
    return {"name": name, "type": _TENSOR_TYPES.get(kind, f"type {kind}"), "shape": shape}


def _shortest(number: float) -> float | int:
    """Shorten to the fewest digits that give the same 32 bits, as Go prints them."""
    short = float(f"{number:.7g}")
    return int(short) if short.is_integer() else short


def _elements(shape: list[int]) -> int:
    count = 1
    for length in shape:
        count *= length
    return count
