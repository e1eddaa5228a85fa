"""What a sweep shows: its table, curves, page, and its run in W&B."""
