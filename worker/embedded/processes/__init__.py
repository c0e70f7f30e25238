"""Child processes, one file each: Redis, a model server, a worker, Flower; `stack` starts all."""
