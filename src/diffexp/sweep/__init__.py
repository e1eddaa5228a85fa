"""A sweep: its cells, the processes that run them, and the view of it while it runs."""
