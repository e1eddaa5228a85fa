"""The formats of checkpoints, by their number.

    2  {"diffexp": {"format": 2, "config", "shape", "classes", "step", "base", ...},
        "trained": {name: tensor}, "ema": [{name: tensor}, ...], "objective": {name: tensor}, and what
        Lightning goes on with}
    1  the weights in Lightning's "state_dict", of the network alone: denoiser.network.*, ema.networks.i.*,
       objective.*

Names are those in the model (model/model.py). What is read is always of the newest format: `upgraded`.
"""

import re
from pathlib import Path
from typing import Any

from diffexp.archive import is_list, is_mapping
from diffexp.errors import DataError

FORMAT = 2
_OF_AVERAGE = re.compile(r"ema\.networks\.(\d{1,4})\.(.+)", re.DOTALL)


def upgraded(checkpoint: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return a checkpoint of a model in the newest format. Raises DataError for a format of a later version,
    and for state that is of no known part, naming it: it would be lost without a word.
    """
    told = checkpoint["diffexp"]
    number = told.get("format", 1)
    if "config" not in told:  # a classifier has a file of its own kind
        return checkpoint
    if number == FORMAT:
        return _laid_out(checkpoint, path)
    if number != 1:
        what = f"the checkpoint is of format {str(number)[:20]}; this version of diffexp reads 1 and {FORMAT}"
        raise DataError(what, str(path), "use the version of diffexp that wrote it")
    state = checkpoint.get("state_dict")
    if not is_mapping(state):
        raise DataError("the checkpoint holds no weights", str(path), "use another checkpoint of the run")
    trained, objective, averages, left = {}, {}, dict[int, dict[str, Any]](), list[str]()
    for name, value in state.items():
        if match := _OF_AVERAGE.fullmatch(str(name)):
            averages.setdefault(int(match[1]), {})[f"denoiser.network.{match[2]}"] = value
        elif str(name).startswith("denoiser.network."):
            trained[name] = value
        elif str(name).startswith("objective."):
            objective[str(name).removeprefix("objective.")] = value
        else:
            left.append(str(name))
    if left:
        what = f"the checkpoint holds state of no known part: {', '.join(left[:3])}"
        raise DataError(what, str(path), "it cannot be restored: train again with this version")
    kept = {key: value for key, value in checkpoint.items() if key != "state_dict"}
    ema = [averages[i] for i in sorted(averages)]
    return kept | {"trained": trained, "ema": ema, "objective": objective}


def _laid_out(checkpoint: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return a checkpoint of this format. Raises DataError where a part of it is not what it has to be."""
    averages = checkpoint.get("ema")
    states = {"trained": checkpoint.get("trained"), "objective": checkpoint.get("objective")}
    states |= {f"ema[{i}]": state for i, state in enumerate(averages)} if is_list(averages) else {"ema": None}
    faults = [name for name, state in states.items() if not _is_state(state)]
    if faults:
        do = "use another checkpoint, or the version of diffexp that wrote it"
        raise DataError(f"the checkpoint is damaged in {', '.join(faults)}", str(path), do)
    return checkpoint


def _is_state(state: object) -> bool:
    return is_mapping(state) and all(isinstance(name, str) for name in state)
