"""What Hydra 1.4 and OmegaConf 2.4 want otherwise than 1.3 and 2.3, and warn about."""

from importlib.metadata import version
from typing import Any

from omegaconf import OmegaConf

BASE: dict[str, Any] = {"version_base": "1.3"} if version("hydra-core").startswith("1.3.") else {}
_old = version("omegaconf").startswith("2.3.")  # there the short name is that of another function
register_resolver: Any = getattr(OmegaConf, "register_new_resolver" if _old else "register_resolver")
