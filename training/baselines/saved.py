"""A trained baseline on disk: baseline.json and weights.safetensors. Weights are data: nothing there is executed."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load, save

from MAPDiffLib.errors import InputError
from MAPDiffLib.files import written_whole
from training.baselines.config import BaselineConfig
from training.baselines.models import OnePass, parameters

FACTS, WEIGHTS = "baseline.json", "weights.safetensors"


def save_baseline(folder: Path, network: OnePass, iteration: int, cases: int, seconds: float) -> Path:
    """Write the (averaged) network, half floats, and what it is; baseline.json last: where it is, all is whole."""
    # Parameters only: the one kind of buffer, the transformer's position index, follows from its window.
    weights = save({name: value.detach().half().cpu().contiguous() for name, value in network.named_parameters()})
    facts = {
        "name": network.config.name,
        "config": json.loads(network.config.to_json()),
        "parameters": parameters(network),
        "iteration": iteration,
        "voxels_seen": iteration * network.config.batch * network.config.patch**3,
        "cases": cases,
        "seconds": round(seconds, 1),
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in ((WEIGHTS, weights), (FACTS, json.dumps(facts, indent=1).encode())):
        with written_whole(folder / name) as partial:
            partial.write_bytes(content)
    return folder


def load_baseline(folder: Path) -> tuple[OnePass, dict]:
    """(network in eval mode on the CPU, facts). InputError when the folder holds no whole baseline."""
    try:
        facts = json.loads((folder / FACTS).read_text())
        content = (folder / WEIGHTS).read_bytes()
    except (OSError, ValueError) as error:
        raise InputError(
            f"{folder} holds no trained baseline ({error}); make one with `mapdiff-train baseline`"
        ) from None
    if (seen := hashlib.sha256(content).hexdigest()) != facts["weights_sha256"]:
        raise InputError(f"{folder / WEIGHTS} is altered: its sha256 is {seen}, not {facts['weights_sha256']}")
    network = OnePass(BaselineConfig.from_json(json.dumps(facts["config"])))
    try:
        learnt = load(content)
        unlike = set(learnt) ^ {name for name, _ in network.named_parameters()}
        network.load_state_dict(learnt, strict=False)
    except (SafetensorError, RuntimeError) as error:
        raise InputError(f"{folder / WEIGHTS} does not fit the network of {FACTS}: {error}") from None
    if unlike:
        raise InputError(f"{folder / WEIGHTS} does not fit the network of {FACTS}: {sorted(unlike)[:3]} differ")
    return network.eval().requires_grad_(False), facts
