"""Restorations as processes: jobs, the worker, batches, clusters."""
