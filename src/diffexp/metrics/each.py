"""What each generated image adds to a mean, kept by its number, for comparisons image by image."""

import torch
from torch import Tensor

from diffexp.metrics.features import gathered


class Each:
    """Numbers of images, and `columns` values of each; NaN for what was not judged."""

    def __init__(self, columns: int = 1) -> None:
        self.columns, self._rows = columns, list[Tensor]()

    def update(self, index: Tensor, values: Tensor) -> None:
        """Keep values (B,) or (B, columns) of the images numbered `index`, int (B,)."""
        values = values.detach().cpu().double().reshape(len(index), self.columns)
        self._rows.append(torch.cat([index.cpu().double()[:, None], values], 1))

    def over_ranks(self) -> Tensor:
        """Return the values of all ranks in the order of their numbers, float64 (columns, n); NaN for numbers
        that are missing. A collective call.
        """
        rows = gathered(self._rows)
        if not len(rows):
            return torch.empty(self.columns, 0, dtype=torch.float64)
        index = rows[:, 0].long()
        out = torch.full((self.columns, int(index.max()) + 1), torch.nan, dtype=torch.float64)
        out[:, index] = rows[:, 1:].T
        return out
