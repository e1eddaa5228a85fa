"""Runs with captions, and folders of text encoders."""

import pytest
from captioned import KINDS, Runs, model, tokenizer


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    return Runs(tmp_path_factory.mktemp("text"))


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """A folder of each kind."""
    root = tmp_path_factory.mktemp("encoders")
    for kind in KINDS:
        model(kind).save_pretrained(root / kind)
        tokenizer(kind != "t5").save_pretrained(root / kind)
    return root
