"""From a command line to checked objects. Hydra and OmegaConf are imported here and above only."""
