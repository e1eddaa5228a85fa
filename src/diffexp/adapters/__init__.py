"""Adapters: small additions to the layers of a base, which alone are trained and stored."""

from diffexp.adapters.kinds import DoRA, LoCon, LoHa, LoKr, LoRA

__all__ = ["DoRA", "LoCon", "LoHa", "LoKr", "LoRA"]
