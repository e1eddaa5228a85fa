"""One run: its job, its folder, and going on with it."""
