"""What an offline run of W&B has written: its records, read back from the .wandb file.

The file is a log of LevelDB: blocks of 32 KiB, in them pieces with a checksum, a length and a kind (1 whole,
2 first, 3 middle, 4 last); here behind a header of 7 bytes.
"""

import json
import struct
from pathlib import Path

from wandb.proto import wandb_internal_pb2

BLOCK, HEAD = 32 * 1024, 7


def records(file: Path):
    data, at, parts = file.read_bytes(), HEAD, b""
    while at + HEAD <= len(data):
        if BLOCK - at % BLOCK < HEAD:
            at += BLOCK - at % BLOCK
            continue
        length, kind = struct.unpack("<HB", data[at + 4 : at + HEAD])
        parts += data[at + HEAD : at + HEAD + length]
        at += HEAD + length
        if kind in (1, 4):
            yield wandb_internal_pb2.Record.FromString(parts)
            parts = b""


def read(folder: Path):
    """Of the one run in a folder: run, config, history keys, summary, files, artifacts, exit."""
    (file,) = folder.glob("wandb/offline-run-*/*.wandb")
    told = {"config": {}, "history": {}, "summary": {}, "files": set(), "artifacts": [], "exit": None}

    for record in records(file):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            told["run"] = record.run
            take(told["config"], record.run.config.update)
        elif kind == "config":
            take(told["config"], record.config.update)
        elif kind == "history":
            take(row := {}, record.history.item)
            for key, value in row.items():
                told["history"].setdefault(key, []).append(value)
        elif kind == "summary":
            take(told["summary"], record.summary.update)
        elif kind == "files":
            told["files"] |= {item.path for item in record.files.files}
        elif kind == "artifact":
            told["artifacts"].append(record.artifact)
        elif kind == "exit":
            told["exit"] = record.exit.exit_code
    return told


def take(into, items):
    """Values by key; a nested key is a path."""
    for item in items:
        *path, last = item.nested_key or [item.key]
        at = into
        for part in path:
            at = at.setdefault(part, {})
        at[last] = json.loads(item.value_json)
