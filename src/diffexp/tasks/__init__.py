"""The tasks that task= chooses, a file each."""
