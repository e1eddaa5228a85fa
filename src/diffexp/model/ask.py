"""What is asked of a model: n images, and of each what its conditioning wants to know."""

from collections.abc import Sequence

import torch
from torch import Tensor

from diffexp.condition import Asked
from diffexp.errors import ConfigError
from diffexp.model.model import Model


def labels_for(n: int, classes: int | None, given: Sequence[int] | None = None) -> Tensor | None:
    """Return labels for n images, int64 (n,): the given ones, or all, in turn, so that each is as frequent.

    Raises ConfigError for classes that there are not.
    """
    if classes is None:
        if given:
            what = f"classes={list(given)}, but the model was trained without classes"
            raise ConfigError(what, "task.classes", "leave task.classes away")
        return None
    chosen = torch.arange(classes) if given is None else torch.tensor(list(given), dtype=torch.int64)
    if not len(chosen) or not ((chosen >= 0) & (chosen < classes)).all():
        what = f"classes={[int(c) for c in chosen]}"
        raise ConfigError(what, "task.classes", f"choose from 0 to {classes - 1}")
    return chosen[torch.arange(n) % len(chosen)]


def ask(
    model: Model,
    n: int,
    classes: Sequence[int] | None = None,
    text: Sequence[str] | None = None,
    negative: str | None = None,
) -> Asked:
    """Return what is asked for, of n images: classes and captions in turn. Raises ConfigError.

    classes: None for all; text, negative: for a model that is told captions.
    """
    wants = model.conditioning.asks
    known = len(model.class_names) if "label" in wants and model.class_names else None
    label = labels_for(n, known, classes)
    if "text" not in wants:
        if text or negative:
            what = "captions are asked for, but the model was trained without them"
            raise ConfigError(what, "task.prompts", "leave task.prompts and task.negative away")
        return Asked(n, label)
    if not text:
        raise ConfigError("this model wants captions", "task.prompts", "type 'task.prompts=[\"...\"]'")
    texts = tuple(text[i % len(text)] for i in range(n))
    return Asked(n, label, texts, None if negative is None else (negative,) * n)
