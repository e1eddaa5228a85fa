"""Filters for the messages of Lightning that help nobody; its other warnings are shown."""

import logging
import os
import warnings

_NOISE = (
    r".*LeafSpec.* is deprecated",
    r"Found \d+ module\(s\) in eval mode",  # the averaged weights, and they should be
    r".*does not have many workers",  # what lies in memory needs none
    r"The number of training batches \(\d+\) is smaller than the logging interval",  # of few images
    r"`isinstance\(treespec",
)


def quiet() -> None:
    """Install the filters for the rest of the process, before a Trainer is built."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    for pattern in _NOISE:
        warnings.filterwarnings("ignore", message=pattern)
    os.environ.setdefault("WANDB_SILENT", "true")
