"""Child processes: Redis, a model server, a worker, Flower, and all of them together."""
