"""The training loop: resumable, the same on one process or under torchrun, logged to a file and to TensorBoard.

Lightning Fabric carries devices, precision and processes; batches are numbered, so that any number of processes sees
the same global batch and a resumed run continues exactly where the killed one would have.
"""

from __future__ import annotations

import copy
import json
import math
import os
import time
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric
from torch.optim.swa_utils import AveragedModel
from torch.utils.tensorboard import SummaryWriter

from MAPDiffLib.errors import InputError
from MAPDiffLib.network import DenoisingUNet
from training.config import TrainConfig
from training.datasets import PatchSource
from training.loss import Loss, anchored_loss

CHECKPOINT, CONFIG, LOG = "last.ckpt", "config.json", "train.log.jsonl"


def train(config: TrainConfig, cases: list[Path], output: Path, start_from: Path | None = None) -> Path:
    """Train to config.iterations in folder `output`, resuming from its checkpoint; returns the checkpoint's path.

    `start_from` is another run's checkpoint whose averaged weights a fresh run begins with. InputError when `output`
    holds a run of another configuration.
    """
    # What torchrun says of its processes; Fabric by itself would take a CPU machine for a single device.
    local = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    nodes = int(os.environ.get("WORLD_SIZE", 1)) // local
    fabric = Fabric(accelerator="auto", devices=local, num_nodes=nodes, precision=config.precision)
    fabric.launch()
    _claim_folder(fabric, config, output)
    torch.manual_seed(config.seed)
    network = DenoisingUNet(config.network).to(memory_format=torch.channels_last_3d)
    if start_from is not None:
        network.load_state_dict(averaged_weights(start_from))
    average = AveragedModel(network, multi_avg_fn=_ema(config.ema_decay)).to(fabric.device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=config.learning_rate, weight_decay=1e-4, betas=(0.9, 0.99))
    model, optimizer = fabric.setup(network, optimizer)
    state = {"model": model, "average": average, "optimizer": optimizer, "iteration": 0}
    checkpoint = output / CHECKPOINT
    if checkpoint.exists():
        fabric.load(checkpoint, state)
    source = PatchSource(cases, config.patch, config.input_doses, config.seed)
    items = list(range(fabric.global_rank, config.batch, fabric.world_size))
    log = _Log(output, state["iteration"]) if fabric.is_global_zero else None
    for iteration in range(state["iteration"], config.iterations):
        started = time.monotonic()
        _set_rate(optimizer, config, iteration)
        loss = _step(fabric, model, optimizer, source, config, iteration, items)
        average.update_parameters(network)
        state["iteration"] = iteration + 1
        if log:
            log.add(iteration, loss, optimizer.param_groups[0]["lr"], time.monotonic() - started)
        if state["iteration"] % config.checkpoint_every == 0 or state["iteration"] == config.iterations:
            _save(fabric, checkpoint, state)
    return checkpoint


def load_run(folder: Path) -> tuple[DenoisingUNet, TrainConfig]:
    """The averaged network of a run and its configuration."""
    config = TrainConfig.from_json((folder / CONFIG).read_text())
    network = DenoisingUNet(config.network)
    network.load_state_dict(averaged_weights(folder / CHECKPOINT))
    return network.eval(), config


def averaged_weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    """The exponentially averaged weights of a checkpoint, by the network's own names."""
    average = torch.load(checkpoint, map_location="cpu", weights_only=True)["average"]
    return {name.removeprefix("module."): value for name, value in average.items() if name.startswith("module.")}


def draw_noise(config: TrainConfig, iteration: int, items: list[int], edge: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Timesteps int [b] and unit noise [b, 1, edge, edge, edge] for the numbered items of an iteration."""
    steps, noises = [], []
    for item in items:
        rng = np.random.default_rng([config.seed, iteration, item, 1])
        at_end = rng.random() < config.end_share
        steps.append(config.diffusion.timesteps - 1 if at_end else int(rng.integers(1, config.low_timesteps)))
        noises.append(rng.standard_normal((1, edge, edge, edge), dtype=np.float32))
    return torch.tensor(steps), torch.from_numpy(np.stack(noises))


def _step(fabric, model, optimizer, source: PatchSource, config: TrainConfig, iteration: int, items: list[int]) -> Loss:
    batch = source.batch(iteration, items)
    t, noise = draw_noise(config, iteration, items, config.patch)
    scan, ladder, weight, dose, t, noise = (
        fabric.to_device(x) for x in (batch.scan, batch.ladder, batch.weight, batch.dose, t, noise)
    )
    x_t = config.diffusion.noised(ladder[:, -1:], t.cpu(), noise)
    output = model(x_t, scan, t / config.diffusion.timesteps, dose)
    loss = anchored_loss(output, x_t, noise, t.cpu(), ladder, weight, config)
    optimizer.zero_grad(set_to_none=True)
    fabric.backward(loss.total)
    fabric.clip_gradients(model, optimizer, max_norm=config.gradient_clip)
    optimizer.step()
    return loss


def _set_rate(optimizer, config: TrainConfig, iteration: int) -> None:
    """Linear warm-up, then a half cosine down to 2 % of the rate."""
    warm = min(1.0, (iteration + 1) / max(1, config.warmup))
    fall = 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * iteration / config.iterations))
    for group in optimizer.param_groups:
        group["lr"] = config.learning_rate * warm * fall


def _ema(decay: float):
    """Exponential moving average whose memory grows with the run, so that the start does not linger."""

    def update(averaged, current, count):
        rate = min(decay, (1 + float(count)) / (10 + float(count)))
        torch._foreach_lerp_(averaged, current, 1 - rate)

    return torch.no_grad()(update)


def _save(fabric: Fabric, checkpoint: Path, state: dict) -> None:
    """Whole under another name first: a kill in the middle leaves the previous checkpoint."""
    partial = checkpoint.with_suffix(".partial")
    fabric.save(partial, state)
    if fabric.is_global_zero:
        os.replace(partial, checkpoint)
    fabric.barrier()


def _claim_folder(fabric: Fabric, config: TrainConfig, output: Path) -> None:
    """Keep the configuration beside the checkpoint; refuse to continue a different one."""
    path = output / CONFIG
    if path.exists() and TrainConfig.from_json(path.read_text()) != config:
        raise InputError(f"{path}: holds another configuration than the one asked for; choose another --output")
    if fabric.is_global_zero and not path.exists():
        output.mkdir(parents=True, exist_ok=True)
        path.write_text(config.to_json())
    fabric.barrier()


class _Log:
    """One JSON line and one TensorBoard point every 20 iterations: means over them."""

    def __init__(self, folder: Path, iteration: int, every: int = 20):
        self.file = (folder / LOG).open("a", buffering=1)
        self.board = SummaryWriter(str(folder / "tensorboard"), purge_step=iteration)
        self.every, self.rows = every, []

    def add(self, iteration: int, loss: Loss, rate: float, seconds: float) -> None:
        row = {"total": loss.total.item(), "denoising": loss.denoising.item(), "anchor": loss.anchor.item()}
        row |= {f"anchor_{i}": value for i, value in enumerate(loss.per_anchor)}
        self.rows.append(row | {"seconds": seconds, "rate": rate})
        if (iteration + 1) % self.every:
            return
        rows, self.rows = copy.copy(self.rows), []
        means = {}
        for key in rows[0]:
            values = [r[key] for r in rows if not math.isnan(r[key])]
            if values:
                means[key] = sum(values) / len(values)
                self.board.add_scalar(key, means[key], iteration + 1)
        self.file.write(json.dumps({"iteration": iteration + 1, **means}) + "\n")
