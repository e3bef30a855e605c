"""The training loop: resumable, the same on one process or under torchrun, logged to a file and to TensorBoard.

Lightning Fabric carries devices, precision and processes; batches are numbered, so that any number of processes sees
the same global batch and a resumed run continues exactly where the killed one would have.
"""

from __future__ import annotations

import itertools
import json
import os
import time
import zipfile
from collections.abc import Callable, Sequence
from contextlib import closing, nullcontext
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric
from torch.utils.tensorboard import SummaryWriter

from MAPDiffLib.errors import BundleError, InputError
from MAPDiffLib.files import written_whole
from MAPDiffLib.model.bundle import load_bundle
from MAPDiffLib.model.network import DenoisingUNet
from MAPDiffLib.restoration.doses import ANCHOR_DOSES
from training.cases.loader import batches
from training.cases.patches import Batch, PatchSource
from training.config import TrainConfig
from training.loss import NO_ANCHOR, Loss, anchored_loss
from training.run_folder import CHECKPOINT, CONFIG, LOG, claim_folder
from training.schedule import AveragedWeights, rate
from training.widen import grown


def train(
    config: TrainConfig,
    cases: list[Path],
    output: Path,
    start_from: Sequence[str | Path] = (),
    workers: int | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Path:
    """Train to config.iterations in folder `output`, resuming from its checkpoint; returns the checkpoint's path.

    A fresh run begins with the mean of the weights in `start_from`: folders of runs, checkpoints (averaged weights) or
    bundles, these by name too; for runs from one warm start that is as good as any of them (arXiv 2203.05482).
    `workers` as in loader.batches. After each iteration `stop` is asked, in every process, whether to end there, with a
    checkpoint from which the same call goes on. InputError when `output` holds a run of another configuration.
    """
    fabric, network, model, optimizer = begin(config, output, start_from)
    average = AveragedWeights(network, config.ema_decay)
    state = {"model": model, "average": average.module, "optimizer": optimizer, "iteration": 0}
    checkpoint = output / CHECKPOINT
    if checkpoint.exists():
        fabric.load(checkpoint, state)
    source = patches_of(config, cases, fabric.device)
    items = list(range(fabric.global_rank, config.batch, fabric.world_size))
    log = _Log(output, state["iteration"]) if fabric.is_global_zero else None
    iterations = range(state["iteration"], config.iterations)
    feed = batches(source, items, iterations, fabric.device, workers)
    with closing(log) if log else nullcontext():
        for iteration in iterations:
            started = time.monotonic()
            batch = next(feed)
            waited = time.monotonic() - started
            losses = update(fabric, model, optimizer, config, batch, iteration, items)
            state["iteration"] = iteration + 1
            average.update(network, iteration + 1)
            if log:
                log.add(iteration, losses, optimizer.param_groups[0]["lr"], time.monotonic() - started, waited)
            ending = stop() or state["iteration"] == config.iterations
            if ending or state["iteration"] % config.checkpoint_every == 0:
                _save(fabric, checkpoint, state)
            if ending:
                break
    return checkpoint


def patches_of(config: TrainConfig, cases: Sequence[Path], device: torch.device) -> PatchSource:
    """The patches that a training on these cases sees."""
    anchors = ANCHOR_DOSES if config.anchor_lambda else (1.0,)  # without the term nobody looks at the others
    return PatchSource(
        cases, config.patch, config.input_doses, config.seed, config.variety, device, config.lesion_weight, anchors
    )


def begin(config: TrainConfig, output: Path | None = None, start_from: Sequence[str | Path] = ()) -> tuple:
    """(fabric, network, model, optimizer) of a fresh run: `model` is the network as its processes share it.

    `output` is claimed for this configuration where it is given. InputError when the batch is too small for its path.
    """
    # What torchrun says of its processes; Fabric by itself would take a CPU machine for a single device.
    local = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    nodes = int(os.environ.get("WORLD_SIZE", 1)) // local
    on_gpu = torch.cuda.is_available()
    precision = ("bf16-mixed" if on_gpu else "32-true") if config.precision == "auto" else config.precision
    fabric = Fabric(accelerator="auto", devices=local, num_nodes=nodes, precision=precision)
    fabric.launch()
    _check_path(config, fabric.world_size)
    torch.manual_seed(config.seed)
    torch.backends.cudnn.benchmark = True  # every batch has the same shape
    network = DenoisingUNet(config.network).to(memory_format=torch.channels_last_3d)
    if start_from:
        several = [_start_weights(start) for start in start_from]
        mean = {name: sum(each[name] for each in several) / len(several) for name in several[0]}
        network.load_state_dict(grown(mean, network))
    _keep_untrained(network, config.trained)
    if output is not None:  # not before the start was read: a wrong one leaves nothing behind
        claim_folder(config, output, fabric.is_global_zero)
        fabric.barrier()
    network.to(fabric.device)
    trained = [weight for weight in network.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=config.learning_rate, weight_decay=1e-4, betas=(0.9, 0.99), fused=True)
    return fabric, network, *fabric.setup(network, optimizer)


def _keep_untrained(network: DenoisingUNet, trained: Sequence[str]) -> None:
    """Leave as they are all tensors whose names begin with none of `trained`; () trains them all. InputError for a
    beginning that no tensor has."""
    names = [name for name, _ in network.named_parameters()]
    if strange := [start for start in trained if not any(name.startswith(start) for name in names)]:
        raise InputError(f"trained has {strange}, with which no tensor of the network begins; there are {names}")
    for name, weight in network.named_parameters():
        weight.requires_grad_(not trained or name.startswith(tuple(trained)))


def update(fabric, model, optimizer, config: TrainConfig, batch: Batch, iteration: int, items: list[int]) -> list[Loss]:
    """One step of the optimiser on this process's items of an iteration; returns the losses of its evaluations."""
    step = _path_step if config.mode == "path" else _single_step
    for group in optimizer.param_groups:
        group["lr"] = rate(config, iteration)
    optimizer.zero_grad(set_to_none=True)
    losses = step(fabric, model, config, batch, iteration, items)
    fabric.clip_gradients(model, optimizer, max_norm=config.gradient_clip)
    optimizer.step()
    return losses


def load_run(folder: Path) -> tuple[DenoisingUNet, TrainConfig]:
    """The averaged network of a run and its configuration."""
    config = TrainConfig.from_json((folder / CONFIG).read_text())
    network = DenoisingUNet(config.network)
    network.load_state_dict(averaged_weights(folder / CHECKPOINT))
    return network.eval(), config


def averaged_weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    """The exponentially averaged weights of a checkpoint, by the network's own names. InputError for another file."""
    saved = torch.load(checkpoint, map_location="cpu", weights_only=True) if zipfile.is_zipfile(checkpoint) else {}
    if "average" not in saved:
        raise InputError(f"{checkpoint} is no checkpoint of a training run; its folder holds one, {CHECKPOINT}")
    return saved["average"]


def _start_weights(start: str | Path) -> dict[str, torch.Tensor]:
    """Of a checkpoint, of the run in a folder, or of a bundle by its name or folder. InputError for none of these."""
    path = Path(start)
    if (path / CHECKPOINT).exists():
        return averaged_weights(path / CHECKPOINT)
    if path.is_file():
        return averaged_weights(path)
    try:
        return load_bundle(start).network.state_dict()
    except BundleError as error:
        raise InputError(f"{start} is no run with a {CHECKPOINT}, no checkpoint and no bundle: {error}") from None


def draw_timesteps(config: TrainConfig, iteration: int, items: list[int]) -> torch.Tensor:
    """The timestep of each numbered item of an iteration, in the modes without a path: int [b]."""
    if config.mode == "regression":
        return torch.full((len(items),), config.diffusion.timesteps - 1)
    steps = []
    for item in items:
        rng = np.random.default_rng([config.seed, iteration, item, 1])
        at_end = rng.random() < config.end_share
        steps.append(config.diffusion.timesteps - 1 if at_end else int(rng.integers(1, config.low_timesteps)))
    return torch.tensor(steps)


def draw_stops(config: TrainConfig, iteration: int, items: list[int]) -> torch.Tensor:
    """One timestep in each anchor's interval, falling, for each numbered item: int [anchors, b].

    Every other item stops at the taus themselves and half the last one, as a restoration does; the rest anywhere. An
    item changes sides with every iteration: a small batch sends no more than its first one down the path.
    """
    taus = [anchor.tau for anchor in config.anchors]
    bounds = [(taus[0], min(2 * taus[0], config.diffusion.timesteps - 1))]
    bounds += [(max(low, 1), high) for high, low in zip(taus, taus[1:], strict=False)]
    usual = [low for low, _ in bounds[:-1]] + [max(1, bounds[-1][1] // 2)]
    stops = []
    for item in items:
        rng = np.random.default_rng([config.seed, iteration, item, 1])
        anywhere = [int(rng.integers(low, high)) for low, high in bounds]
        stops.append(usual if (iteration + item) % 2 else anywhere)
    return torch.tensor(stops).T


def draw_noise(config: TrainConfig, iteration: int, items: list[int], device: torch.device) -> torch.Tensor:
    """Unit noise [b, 1, patch, patch, patch] for the numbered items: the same for any number of processes."""
    noises = []
    for item in items:
        seed = (config.seed * 1_000_003 + iteration) * 4099 + item
        generator = torch.Generator(device).manual_seed(seed)
        noises.append(torch.randn((1, *(config.patch,) * 3), generator=generator, device=device))
    return torch.stack(noises)


def _single_step(fabric, model, config: TrainConfig, batch: Batch, iteration: int, items: list[int]) -> list[Loss]:
    """One evaluation an item: the full-dose scan noised to its timestep. Leaves the gradients; returns its loss."""
    t, noise = draw_timesteps(config, iteration, items), draw_noise(config, iteration, items, fabric.device)
    x_t = config.diffusion.noised(batch.ladder[:, -1:], t, noise)
    output = model(x_t, batch.scan, (t / config.diffusion.timesteps).to(x_t), batch.noise)
    loss = anchored_loss(output, x_t, noise, t, batch.ladder, batch.weight, config)
    fabric.backward(loss.total.mean())
    return [loss]


def _path_step(fabric, model, config: TrainConfig, batch: Batch, iteration: int, items: list[int]) -> list[Loss]:
    """All items at the noisiest timestep, then the first of them down the sampler's path, each stop on the state that
    the estimate before it leads to. Leaves the gradients of the mean over all evaluations; returns their losses."""
    diffusion = config.diffusion
    going_on = _going_on(config, len(items))
    stops = draw_stops(config, iteration, items[:going_on])
    evaluations = len(items) + len(stops) * going_on
    t = torch.full((len(items),), diffusion.timesteps - 1)
    noise = draw_noise(config, iteration, items, fabric.device)
    x_t = diffusion.noised(batch.ladder[:, -1:], t, noise)
    losses = []
    for stop in (*stops, None):
        # Gradients of processes are summed once, after the last stop.
        with fabric.no_backward_sync(model, enabled=stop is not None):
            output = model(x_t, batch.scan, (t / diffusion.timesteps).to(x_t), batch.noise)
            losses.append(anchored_loss(output, x_t, noise, t, batch.ladder, batch.weight, config))
            fabric.backward(losses[-1].balanced.sum() / evaluations)
        if stop is None:
            return losses
        batch, noise = batch.first(going_on), noise[:going_on]
        x_t = diffusion.step(x_t[:going_on], losses[-1].x0_hat[:going_on].detach(), t[:going_on], stop)
        t = stop


def _going_on(config: TrainConfig, items: int) -> int:
    """How many of a process's items of an iteration go down the path."""
    return round(config.path_share * items)


def _check_path(config: TrainConfig, processes: int) -> None:
    """InputError when rounding leaves a process no item for the path: it would train without one and not say so."""
    items = config.batch // processes
    if config.mode == "path" and not _going_on(config, items):
        least = next(n for n in itertools.count(1) if _going_on(config, n))
        raise InputError(
            f"batch is {config.batch}, {items} for each of {processes} processes, and path_share {config.path_share:g} "
            f"of it is none: the path would not be trained; it takes a batch of {least * processes}, or a larger share"
        )


def _save(fabric: Fabric, checkpoint: Path, state: dict) -> None:
    """A kill in the middle leaves the previous checkpoint. Every process calls it, the first one writes."""
    with written_whole(checkpoint) if fabric.is_global_zero else nullcontext(checkpoint) as partial:
        fabric.save(partial, state)
    fabric.barrier()


class _Log:
    """One JSON line and one TensorBoard point every 20 iterations: means over them. To be closed."""

    def __init__(self, folder: Path, iteration: int, every: int = 20):
        self.file = (folder / LOG).open("a", buffering=1)
        self.board = SummaryWriter(str(folder / "tensorboard"), purge_step=iteration)
        self.every, self.rows = every, []

    def close(self) -> None:
        self.file.close()
        self.board.close()

    def add(self, iteration: int, losses: list[Loss], rate: float, seconds: float, waited: float) -> None:
        """Keep an iteration; nothing is read off the device until a line is due."""
        kept = [torch.stack([loss.denoising, loss.anchor, loss.anchor_index]).detach() for loss in losses]
        self.rows.append((torch.cat(kept, dim=1), rate, seconds, waited))
        if (iteration + 1) % self.every:
            return
        rows, self.rows = self.rows, []
        denoising, anchor, index = torch.cat([row[0] for row in rows], dim=1).cpu()
        means = {"denoising": denoising.mean().item()}
        if (supervised := index != NO_ANCHOR).any():
            means["anchor"] = anchor[supervised].mean().item()
            means |= {f"anchor_{int(i)}": anchor[index == i].mean().item() for i in index[supervised].unique()}
        seconds, waited = (sum(row[k] for row in rows) / len(rows) for k in (2, 3))
        means |= {"rate": rows[-1][1], "seconds": seconds, "waiting_for_data": waited / seconds}
        for name, value in means.items():
            self.board.add_scalar(name, value, iteration + 1)
        self.file.write(json.dumps({"iteration": iteration + 1, **means}) + "\n")
