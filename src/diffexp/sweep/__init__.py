"""A sweep: its cells, the processes that run them, and what is seen meanwhile."""
