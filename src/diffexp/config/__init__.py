"""Make checked objects of a command line. Hydra and OmegaConf are imported here and above only."""
