"""The diagonal Gaussian q(z|x) = N(mean, exp(logvar)) of an encoder, and its distance from the prior.

KL(q ‖ N(0, 1)) = ½ Σ (mean² + exp(logvar) − 1 − logvar)
"""

import torch
from torch import Tensor


def draw(mean: Tensor, logvar: Tensor, noise: Tensor) -> Tensor:
    """Return z of standard normal noise of the same shape."""
    return mean + (0.5 * logvar).exp() * noise


def kl(mean: Tensor, logvar: Tensor) -> Tensor:
    """Return the divergence at each place of z, in nats, of the shape of the mean."""
    return 0.5 * (mean.square() + torch.expm1(logvar) - logvar)
