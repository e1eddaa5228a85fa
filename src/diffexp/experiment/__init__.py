"""From the command line to a finished run. Hydra and OmegaConf are imported here only."""
