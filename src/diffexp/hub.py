"""Models of transformers, in a folder or on the hub, which a stranger may have written: nothing of theirs is
run, and what they are is judged before it is used.
"""

import zipfile
from pathlib import Path
from typing import Any

from diffexp.archive import judge_archive
from diffexp.errors import ConfigError, DataError
from diffexp.files import read_json

WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_PARTS = "model-*-of-*.safetensors"
_WANTED = ["*.json", "*.txt", "spiece.model", _PARTS, *WEIGHTS]
_CODE = {"auto_map", "trust_remote_code", "custom_pipelines", "use_kernels", "kernel_config"}
_MOST_LAYERS = 10_000


def at(path: str) -> Path:
    """Return the path that was typed, ~ for the home folder where there is one."""
    try:
        return Path(path).expanduser()
    except RuntimeError:  # no such user
        return Path(path)


def is_file(path: Path) -> bool:
    """Return whether there is a regular file; False as well for a name that no file can have."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def reason(error: Exception) -> str:
    """Return the first line of an error, or its kind where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def check_stored(file: Path) -> None:
    """Raise DataError for an archive that torch.load must not be given; old files of torch.save are none."""
    if zipfile.is_zipfile(file):
        judge_archive(file, whole=False)


def check_folder(folder: Path) -> None:
    """Raise DataError for a folder of transformers whose files name code to be run, or models to be fetched.

    Such keys are not obeyed anyway; a folder that has them is not what it is taken for.
    """
    if (folder / "adapter_config.json").exists():
        what = "this changes another model, which transformers would fetch"
        raise DataError(what, str(folder / "adapter_config.json"), "give a folder with the whole model")
    for file in sorted(folder.glob("*config.json")):
        if not is_file(file):
            raise DataError("this is no file", str(file), "give another folder")
        for key, value in _items(read_json(file)):
            code = key in _CODE or (key.endswith("attn_implementation") and "/" in str(value))
            if code and value not in (None, False):
                do = "give a model that transformers itself knows, whose config.json names no code"
                raise DataError(f"{key}={value!s:.80} names code that is not run", str(file), do)
            if key.startswith("num_") and isinstance(value, int) and value > _MOST_LAYERS:
                raise DataError(f"{key}={value} is more than {_MOST_LAYERS}", str(file), "give another model")


def _items(config: Any) -> list[tuple[str, Any]]:
    """Return all keys and values, those of the parts as well."""
    todo, items = [config], list[tuple[str, Any]]()
    while todo:
        part = todo.pop()
        if isinstance(part, dict):
            items += part.items()
            todo += part.values()
        elif isinstance(part, list):
            todo += part
    return items


def whole(kind: Any, folder: Path, unused: tuple[str, ...] = (), **options: Any) -> Any:
    """Load a model of transformers with all its weights. Raises ValueError where the folder lacks one, for
    which transformers would draw random numbers. unused: how the names of weights begin that nobody
    needs; options: for from_pretrained.
    """
    from transformers.utils import logging

    before, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(50)  # it prints a table of what is missing
    logging.disable_progress_bar()
    try:
        # the file whose digest is shown: a folder can have others
        plain = weights_of(folder)[0].suffix == ".safetensors"
        net, info = kind.from_pretrained(
            folder,
            local_files_only=True,
            output_loading_info=True,
            use_safetensors=plain,
            weights_only=True,
            **options,
        )
    finally:
        logging.set_verbosity(before)
        if bars:
            logging.enable_progress_bar()
    if missing := sorted(name for name in info["missing_keys"] if not name.startswith(unused)):
        raise ValueError(f"no {missing[0]} in it")
    return net


def weights_of(folder: Path) -> list[Path]:
    """Return the files of the weights in a folder: one, or the parts of one. Raises DataError for none."""
    one = [folder / name for name in WEIGHTS if is_file(folder / name)][:1]
    files = one or [file for file in sorted(folder.glob(_PARTS)) if is_file(file)]
    if not files:
        raise DataError("there are no weights in this folder", str(folder), f"put {WEIGHTS[0]} there")
    return files


def folder_of(model: str, key: str, instead: str) -> Path:
    """Return the folder of a model, downloaded if it is a name. key: where it was typed; instead: what to
    type to do without. Raises ConfigError, DataError.
    """
    folder = at(model)
    try:
        import transformers  # noqa: F401
        from huggingface_hub import snapshot_download
    except ImportError as error:
        do = f"pip install 'diffexp[transformers]', or {instead}"
        raise ConfigError("transformers is not installed", key.rpartition(".")[0], do) from error
    if folder.is_dir():
        return folder
    try:
        return Path(snapshot_download(model, allow_patterns=_WANTED, local_files_only=True))
    except Exception:  # not in the cache, or not whole
        pass
    try:
        return Path(snapshot_download(model, allow_patterns=_WANTED))
    except Exception as error:  # of requests, of the hub, of names: no common type
        do = f"give a folder with config.json and model.safetensors by {key}=PATH"
        what = f"{model} is no folder, and cannot be downloaded ({reason(error)})"
        raise DataError(what, model, do) from error
