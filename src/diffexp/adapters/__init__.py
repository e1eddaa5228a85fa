"""Adapters: small additions to the layers of a base, which alone are trained and stored."""

from diffexp.adapters.concept import Concept
from diffexp.adapters.kinds import DoRA, LoCon, LoHa, LoKr, LoRA

__all__ = ["Concept", "DoRA", "LoCon", "LoHa", "LoKr", "LoRA"]
