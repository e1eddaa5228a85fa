"""Jobs in this process: composed by Hydra as the command line does it, run in a temporary folder."""

from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from diffexp.config.compat import BASE

CONF = Path(__file__).parents[1] / "conf"
QUICK = [
    "network=unet_tiny",
    "network.channels=8",
    "trainer.max_steps=6",
    "evaluator.every=0",
    "evaluator.scales=[]",
    "metrics.n=20",
    "evaluator.pictures=20",
    "sampler.steps=3",
    "logger=none",
]


def composed(overrides):
    """(config, choices) of a command line."""
    with initialize_config_dir(str(CONF), **BASE):
        cfg = compose("config", list(overrides), return_hydra_config=True)
    choices = dict(cfg.hydra.runtime.choices)
    OmegaConf.set_struct(cfg, False)
    del cfg["hydra"]
    return cfg, choices
