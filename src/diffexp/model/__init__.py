"""A trained model: what samples, and reading it from a checkpoint. Imports neither Hydra nor Lightning."""
