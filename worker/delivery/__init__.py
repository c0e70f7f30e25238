"""How messages travel between Redis and a worker: transport, requests, consumer, job records."""
