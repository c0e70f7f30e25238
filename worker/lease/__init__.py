"""What keeps a delivery alive in a worker, and ends what a dead worker left behind."""
