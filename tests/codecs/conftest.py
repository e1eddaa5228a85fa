import pytest
import torch


@pytest.fixture(scope="session")
def images():
    """uint8 (300, 1, 8, 8), smooth, each of its own brightness."""
    draw = torch.Generator().manual_seed(1)
    base = torch.randn(300, 1, 4, 4, generator=draw) + torch.randn(300, 1, 1, 1, generator=draw)
    return (128 + 50 * base).clamp(0, 255).repeat_interleave(2, 2).repeat_interleave(2, 3).to(torch.uint8)
