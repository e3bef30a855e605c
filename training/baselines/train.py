"""Trains a baseline on one device: resumable, numbered batches, channels last, bfloat16 on a GPU, averaged weights."""

from __future__ import annotations

import json
import math
import time
from contextlib import closing, nullcontext
from functools import partial
from pathlib import Path

import torch
from torch import nn

from MAPDiffLib.errors import InputError
from MAPDiffLib.files import written_whole
from MAPDiffLib.restoration.device import choose_compute
from training.baselines.config import BaselineConfig
from training.baselines.models import OnePass, parameters
from training.baselines.objectives import objective
from training.baselines.saved import save_baseline
from training.cases.loader import batches
from training.cases.patches import PatchSource
from training.run_folder import CHECKPOINT, LOG, claim_folder
from training.schedule import AveragedWeights, rate

LOG_EVERY = 20


def train_baseline(
    config: BaselineConfig, cases: list[Path], output: Path, device: str = "auto", workers: int | None = None
) -> Path:
    """Train to config.iterations in folder `output`, resuming from its checkpoint; returns it, a whole baseline.

    `workers` as in loader.batches. InputError when `output` holds a run of another configuration.
    """
    place = choose_compute(device, "float32").device
    on_gpu = place.type == "cuda"
    claim_folder(config, output)
    torch.manual_seed(config.seed)
    torch.backends.cudnn.benchmark = on_gpu
    network = OnePass(config).to(place, memory_format=torch.channels_last_3d)
    learner = objective(network, config)
    for module in learner.modules.values():
        module.to(place)
    average = AveragedWeights(network, config.ema_decay)
    state = _State(output / CHECKPOINT, learner, average.module)
    state.load(place)
    autocast = partial(torch.autocast, "cuda", torch.bfloat16) if on_gpu else nullcontext
    source = PatchSource(cases, config.patch, config.input_doses, config.seed, config.variety, place, anchors=(1.0,))
    remaining = range(state.iteration, config.iterations)
    with closing(_Log(output, config, parameters(network), state.iteration)) as log:
        for batch in batches(source, range(config.batch), remaining, place, workers):
            for optimizer in learner.optimizers.values():
                for group in optimizer.param_groups:
                    group["lr"] = rate(config, state.iteration)
            losses = learner.step(batch, autocast)
            state.iteration += 1
            average.update(network, state.iteration)
            log.add(state.iteration, losses)
            if state.iteration % config.checkpoint_every == 0 or state.iteration == config.iterations:
                state.seconds += log.lap()
                state.save()
                save_baseline(output, average.module, state.iteration, len(cases), state.seconds)
    return output


class _State:
    """What a checkpoint holds: networks, their average, optimisers, how far the training has come."""

    def __init__(self, path: Path, learner, average: nn.Module):
        self.path, self.learner, self.average = path, learner, average
        self.iteration, self.seconds = 0, 0.0

    def _parts(self) -> dict:
        return {**self.learner.modules, "average": self.average} | {
            f"{name} optimizer": optimizer for name, optimizer in self.learner.optimizers.items()
        }

    def save(self) -> None:
        """A kill in the middle leaves the previous checkpoint."""
        counts = {"iteration": self.iteration, "seconds": self.seconds}
        with written_whole(self.path) as partial_file:
            torch.save({name: part.state_dict() for name, part in self._parts().items()} | counts, partial_file)

    def load(self, device: torch.device) -> None:
        """Continue from the checkpoint where there is one."""
        if not self.path.exists():
            return
        kept = torch.load(self.path, map_location=device, weights_only=True)
        for name, part in self._parts().items():
            part.load_state_dict(kept[name])
        self.iteration, self.seconds = kept["iteration"], kept["seconds"]


class _Log:
    """One JSON line every 20 iterations on file and on the screen: mean losses, rate of the work. To be closed."""

    def __init__(self, folder: Path, config: BaselineConfig, size: int, iteration: int):
        self.file = (folder / LOG).open("a", buffering=1)
        self.config, self.rows = config, []
        self.started = self.marked = time.monotonic()
        seen = config.voxels_seen / 1e9
        print(f"{config.name}: {size / 1e6:.2f} M parameters, {seen:.2f} G voxels, from {iteration}", flush=True)

    def close(self) -> None:
        self.file.close()

    def add(self, iteration: int, losses: dict[str, torch.Tensor]) -> None:
        self.rows.append(losses)
        if iteration % LOG_EVERY and iteration != self.config.iterations:
            return
        # Only here: reading a loss waits for the GPU.
        means = {key: sum(row[key] for row in self.rows).item() / len(self.rows) for key in losses}
        if not all(map(math.isfinite, means.values())):
            raise InputError(
                f"iteration {iteration}: the losses are {means}, not finite; train again with a lower learning_rate,"
                " into another --output"
            )
        now = time.monotonic()
        line = json.dumps({"iteration": iteration, **means, "seconds": (now - self.marked) / len(self.rows)})
        self.file.write(line + "\n")
        if iteration % (5 * LOG_EVERY) == 0:
            print(line, flush=True)
        self.marked, self.rows = now, []

    def lap(self) -> float:
        """Seconds since the last lap."""
        before, self.started = self.started, time.monotonic()
        return self.started - before
