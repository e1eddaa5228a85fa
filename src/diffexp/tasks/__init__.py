"""What task= chooses, a file each."""
