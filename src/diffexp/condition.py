"""What is asked for, in words and numbers, and the condition that a conditioning makes of it for the network.

Nothing in the core looks inside a Condition but the network that is built for it: samplers, guidance and the
likelihood pass it on, take rows of it, repeat it, and put two of them into one batch.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace

import torch
import torch.nn.functional as F
from torch import Tensor

Rows = Tensor | slice


@dataclass(frozen=True, eq=False)
class Condition:
    """The network is told this beside x_t and t: tensors of B rows each, or None.

    label: int64 (B,); vector: (B, P), such as pooled text; tokens: (B, L, D), of which mask, bool (B, L),
    says which count; image: (B, C, H, W); size: int64 (B, 6), as asked for, 0 for what nobody says. null:
    the condition that guidance goes away from, such as a negative prompt, of B rows as well; None without
    guidance. others: what models beside this one are told of the same, by their names, each by its own
    conditioning (None: nothing).
    """

    label: Tensor | None = None
    vector: Tensor | None = None
    tokens: Tensor | None = None
    mask: Tensor | None = None
    image: Tensor | None = None
    size: Tensor | None = None
    null: "Condition | None" = None
    others: Mapping[str, "Condition | None"] | None = None

    def _tensors(self) -> dict[str, Tensor]:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, Tensor)}

    def _each(self, of: Callable[[Tensor], Tensor]) -> "Condition":
        def nested(cond: "Condition | None") -> "Condition | None":
            return None if cond is None else cond._each(of)

        others = self.others and {name: nested(cond) for name, cond in self.others.items()}
        made = {name: of(value) for name, value in self._tensors().items()}
        return replace(self, **made, null=nested(self.null), others=others)

    def __len__(self) -> int:
        """B, the number of rows."""
        return next(iter(len(value) for value in self._tensors().values()), 0)

    def __getitem__(self, rows: Rows) -> "Condition":
        return self._each(lambda value: value[rows])

    @property
    def device(self) -> torch.device | None:
        """The device of its tensors, None for a condition without any."""
        return next((value.device for value in self._tensors().values()), None)

    def to(self, device: torch.device | str) -> "Condition":
        """Return the same on a device."""
        return self._each(lambda value: value.to(device))

    def expand(self, n: int) -> "Condition":
        """Return n rows of one."""
        return self._each(lambda value: value.expand(n, *value.shape[1:]))

    def repeat_interleave(self, n: int) -> "Condition":
        """Return each row n times."""
        return self._each(lambda value: value.repeat_interleave(n, 0))

    def where(self, keep: Tensor, other: "Condition") -> "Condition":
        """Return the rows of this one where `keep`, bool (B,), holds, and those of the other elsewhere."""
        n = len(self)
        both = Condition.cat(self, other)
        index = torch.arange(n, device=keep.device)
        return both[torch.where(keep, index, index + n)]

    @staticmethod
    def cat(*parts: "Condition") -> "Condition":
        """Return one batch of several, without `null` and `others`. Tokens are padded to the longest; the
        mask says which are those of a prompt. Raises ValueError where one has a field that another lacks.
        """
        names = [tuple(part._tensors()) for part in parts]
        if len(set(names)) != 1:
            raise ValueError(f"conditions of different kinds: {', '.join(map(str, names))}")
        length = max((0 if part.tokens is None else part.tokens.shape[1]) for part in parts)
        parts = tuple(part._padded(length) for part in parts)
        return replace(Condition(), **{n: torch.cat([getattr(p, n) for p in parts]) for n in names[0]})

    def _padded(self, length: int) -> "Condition":
        if self.tokens is None or (more := length - self.tokens.shape[1]) == 0:
            return self
        if self.mask is None:
            raise ValueError("tokens of different lengths need a mask")
        tokens, mask = F.pad(self.tokens, (0, 0, 0, more)), F.pad(self.mask, (0, more))
        return replace(self, tokens=tokens, mask=mask)


@dataclass(frozen=True, eq=False)
class Asked:
    """Somebody asks for this, of n images: a batch of the data, a command line, or the evaluator.

    label: classes, int64 (n,); text: captions; negative: what is not wanted, a text for each; size: int64
    (n, 6), in pixels: height and width of a picture, what is cut off above and left of it after it was
    scaled, height and width of the image. What is None is not asked for.
    """

    n: int
    label: Tensor | None = None
    text: tuple[str, ...] | None = None
    negative: tuple[str, ...] | None = None
    size: Tensor | None = None

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: Tensor) -> "Asked":
        """Return those of these numbers, int64 (m,)."""
        return Asked(
            len(index),
            None if self.label is None else self.label[index.to(self.label.device)],
            _chosen(self.text, index),
            _chosen(self.negative, index),
            None if self.size is None else self.size[index.to(self.size.device)],
        )

    def to(self, device: torch.device | str) -> "Asked":
        """Return the same with its tensors on a device."""
        label = None if self.label is None else self.label.to(device)
        return replace(self, label=label, size=None if self.size is None else self.size.to(device))


def _chosen(texts: tuple[str, ...] | None, index: Tensor) -> tuple[str, ...] | None:
    return None if texts is None else tuple(texts[int(i)] for i in index)
