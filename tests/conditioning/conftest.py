"""Runs with captions, by the command line, each made once."""

from pathlib import Path

import pytest
from forked import forked

HERE = Path(__file__).parent
BASIC = ["-cd", str(HERE / "conf"), "plugins=[listener,plugins]", "logger=none"]
QUICK = [
    "data=halves", "metrics=none", "network=listener", "evaluator.pictures=4", "evaluator.every=0",
    "evaluator.scales=[]", "trainer.max_steps=4", "trainer.log_every_n_steps=1", "loader.batch_size=8",
    "callbacks.checkpoint.every=2", "sampler.steps=3", "ema.decays=[0.9]",
]  # fmt: skip
RECIPES = {
    "words": ["conditioning=text"],
    "bytes": ["conditioning=text", "text_encoder=bytes", "conditioning.null=learned", "seed=1"],
    "both": ["conditioning=class_text", "text_encoder.width=16", "conditioning.text_dropout=0.3"],
}


class Runs:
    """Command lines in one folder."""

    def __init__(self, folder):
        self.folder, self._done = folder, set()

    def type(self, *typed):
        """(exit code, what was said)"""
        return forked([*BASIC, *typed], self.folder, self.folder / "said")

    def done(self, name, *typed):
        """(the folder of a command that ends well, what it said)"""
        code, said = self.type(*typed, f"dir={name}")
        assert code == 0, said
        return self.folder / name, said

    def trained(self, recipe):
        """The folder of a run, made once."""
        if recipe not in self._done:
            self.done(recipe, *QUICK, *RECIPES[recipe])
            self._done.add(recipe)
        return self.folder / recipe

    def sampled(self, recipe, name, *typed):
        """(the folder, what was said) of a command that samples a run."""
        return self.done(name, "task=sample", f"task.ckpt={self.trained(recipe)}", "task.n=4", *typed)


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    return Runs(tmp_path_factory.mktemp("text"))
