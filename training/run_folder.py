"""The folder of a training run, ours or a baseline's: the names of its files, and whose configuration it holds."""

from __future__ import annotations

from pathlib import Path

from MAPDiffLib.errors import InputError
from MAPDiffLib.files import clear_partials, write_text

CHECKPOINT, CONFIG, LOG = "last.ckpt", "config.json", "train.log.jsonl"


def claim_folder(config, output: Path, writes: bool = True) -> None:
    """Keep the configuration beside the checkpoint. InputError where the folder holds a run of another one.

    config: a dataclass with `to_json` and `from_json`; writes: whether this process of the run's is the one that does.
    """
    path = output / CONFIG
    if path.exists() and type(config).from_json(path.read_text()) != config:
        raise InputError(f"{path}: holds another configuration than the one asked for; choose another --output")
    if writes:
        output.mkdir(parents=True, exist_ok=True)
        clear_partials(output)
        if not path.exists():
            write_text(config.to_json(), path)  # whole: the other processes may look for it at any moment
