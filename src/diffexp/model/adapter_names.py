"""The names of adapters' weights: in a model, where peft calls an adapter "default", and in peft's files."""

TUNED = "conditioning.encoder.concepts.tuned"  # the vectors of a new word
_PREFIX, _ADAPTER, _MAGNITUDE = "base_model.model.", ".default", ".lora_magnitude_vector"


def to_peft(name: str) -> str:
    """Return the name in a file of peft: that of the model without the name of the adapter."""
    kept = name.removesuffix(".weight") if _MAGNITUDE in name else name
    return _PREFIX + "".join(kept.rsplit(_ADAPTER, 1))


def from_peft(name: str) -> str:
    """Return the name in the model of one in a file of peft."""
    own = name.removeprefix(_PREFIX)
    if own.endswith(_MAGNITUDE):
        return f"{own}{_ADAPTER}.weight"
    layer, weight = own.removesuffix(".weight"), own.endswith(".weight")
    return f"{layer}{_ADAPTER}.weight" if weight else f"{layer}{_ADAPTER}"
