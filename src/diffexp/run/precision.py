"""Which arithmetic of the network is fast on this machine.

bfloat16 has less than half of the bytes of float32 to move, but a CPU without instructions for it computes it
in a detour that was measured to be 8 to 14 times slower than float32.
"""

import time
from collections.abc import Mapping
from typing import Any, get_args

import torch
from torch.nn import functional as F

from diffexp.diffusion.denoiser import Precision
from diffexp.errors import ConfigError
from diffexp.notice import chosen, warn


def settled(config: Mapping[str, Any], before: Any = None) -> dict[str, Any]:
    """Return the configuration with the fastest precision in place of precision=auto, and say which; warn of
    one that this machine computes slowly. before: that of the run which is in the folder already.
    """
    on_gpu = config.get("trainer", {}).get("accelerator", "cpu") != "cpu" and torch.cuda.is_available()
    precision = config.get("precision")
    if precision == "bf16" and not on_gpu and not has_bfloat16():
        times = slowdown()
        measured = f"a convolution takes {times:.1f} times as long as in float32"
        warn(f"this CPU has no instructions for bfloat16 ({measured}): type precision=fp32, or auto")
    if precision != "auto":
        return dict(config)
    fast = before if before in ("fp32", "bf16", "fp16") else fastest(on_gpu)
    why = "as before" if fast == before else f"the fastest on this {'GPU' if on_gpu else 'CPU'}"
    chosen(f"precision={fast}, {why}")
    inner = {
        key: {**node, "precision": "fp32" if (key, fast) == ("autoencoder", "fp16") else fast}
        for key in ("model", "autoencoder")
        if isinstance(node := config.get(key), Mapping)
    }
    return {**config, "precision": fast, **inner}


def check_precision(config: Mapping[str, Any]) -> None:
    """Raise ConfigError for a precision that there is not."""
    known, precision = get_args(Precision), config.get("precision", "fp32")
    if precision not in known:
        what = f"precision={precision} is not {' or '.join(known)} or auto"
        raise ConfigError(what, "precision", f"give {', '.join(known)} or auto")


def fastest(on_gpu: bool) -> Precision:
    """Return the fastest precision, by what the machine says that it can; times are not taken, for they would
    make another choice each time.
    """
    if not on_gpu:
        return "bf16" if has_bfloat16() else "fp32"
    return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"


def has_bfloat16() -> bool:
    """Return whether this CPU has instructions for bfloat16: AVX-512 BF16 or AMX."""
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, lambda: False)() for name in names)


def slowdown(rounds: int = 3) -> float:
    """Return the time of a convolution in bfloat16, divided by that in float32: the least of some rounds."""
    x, weight = torch.randn(16, 64, 28, 28), torch.randn(64, 64, 3, 3)

    def seconds(dtype: torch.dtype) -> float:
        a, b = x.to(dtype), weight.to(dtype)
        taken = []
        for _ in range(rounds + 1):  # the first one chooses an algorithm
            begun = time.perf_counter()
            F.conv2d(a, b, padding=1)
            taken.append(time.perf_counter() - begun)
        return min(taken[1:])

    return seconds(torch.bfloat16) / seconds(torch.float32)
