"""Volume -> each dose, one after another.

body mask -> working grid, dose told -> intensity.to_network -> mean of samples -> along the anchors' timesteps -> the
scan's own grid -> full dose: the estimates on the way, weighted as validation decided -> mean-activity guard -> each
dose: closed-form mix of scan and full dose, with its share of the anchored estimate -> the scan's units and geometry

Every dose waits for the last evaluation. The lower ones could be had earlier, but only from an estimate of full dose
that is not yet as good: they would be worse than arithmetic with the final one, and not consistent with it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import asdict, dataclass, field

import numpy as np
import torch

from MAPDiffLib import __version__
from MAPDiffLib.errors import Cancelled
from MAPDiffLib.job import RESEARCH_USE
from MAPDiffLib.model.bundle import Bundle
from MAPDiffLib.model.diffusion import Diffusion
from MAPDiffLib.restoration import plan
from MAPDiffLib.restoration.activity_guard import GuardReport, guard_activity
from MAPDiffLib.restoration.box import BodyBox
from MAPDiffLib.restoration.device import choose_compute
from MAPDiffLib.restoration.doses import DoseEstimate, dose_label, mix
from MAPDiffLib.restoration.intensity import Intensity
from MAPDiffLib.restoration.noise import noise_widths, relative_noise
from MAPDiffLib.restoration.plan import Plan
from MAPDiffLib.restoration.sampling import Evaluation, evaluate_path, evaluations_of
from MAPDiffLib.restoration.tiles import TiledNetwork
from MAPDiffLib.restoration.working_grid import WorkingGrid, wanted_voxels
from MAPDiffLib.scan.volume import Volume

Report = Callable[[dict], None]

UNLIKE = 0.9  # of a scan's dose: what the user hears of, when the network is told less
RESULT_S_PER_VOXEL = 4e-8  # what making, measuring and writing one dose takes


@dataclass(frozen=True)
class RestoreOptions:
    """What a user may choose; None and "auto" leave the choice to the bundle and the scan."""

    doses: tuple[float, ...] | None = None
    input_dose: float | None = None
    device: str = "auto"
    precision: str = "auto"
    steps: int | None = None
    samples: int | None = None
    seed: int = 0
    tile: int | None = None
    gpu_memory_gb: float | None = None


@dataclass(frozen=True)
class RestoredDose:
    """One restored dose, with its guard and quality figures and the dose that the input was taken for, by assumption
    alone where `dose_assumed`."""

    dose: float
    volume: Volume
    figures: dict[str, float]
    input_dose: float
    dose_assumed: bool


@dataclass(frozen=True)
class Restoration:
    """What a restoration ends with: the uncertainty (one standard deviation; None for one sample) and the report."""

    uncertainty: Volume | None
    report: dict


@dataclass
class _Clock:
    """Seconds per stage, for the report."""

    seconds: dict[str, float] = field(default_factory=dict)
    mark: float = field(default_factory=time.monotonic)

    def lap(self, stage: str) -> float:
        now = time.monotonic()
        self.seconds[stage] = round(now - self.mark, 3)
        self.mark = now
        return self.seconds[stage]


@dataclass(frozen=True)
class _Setting:
    """What stays the same during one restoration.

    All work is done in `box`, the box of the body: `scan` and `inside` are the input and the body in it, as tensors
    where the network has its volumes. The network alone works on `grid`.
    """

    volume: Volume
    box: BodyBox
    grid: WorkingGrid
    scan: torch.Tensor
    inside: torch.Tensor
    intensity: Intensity
    estimate: DoseEstimate | None
    way: Plan
    told_dose: float
    network: TiledNetwork
    warnings: list[str]

    def into(self, background: torch.Tensor, image: torch.Tensor) -> Volume:
        """A volume: a copy of `background` [z, y, x] with `image` in its box."""
        voxels = background.clone()
        voxels[self.box.slices].copy_(image)
        return self.volume.with_voxels(voxels.numpy())

    def guarded(self, image: torch.Tensor) -> tuple[torch.Tensor, GuardReport]:
        """An image of the box with the scan's own activity."""
        return guard_activity(image, self.scan, self.inside, self.volume.spacing_mm)


def restore(
    volume: Volume,
    bundle: Bundle,
    options: RestoreOptions = RestoreOptions(),  # noqa: B008  (frozen)
    report: Report = lambda event: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Generator[RestoredDose, None, Restoration]:
    """Restore a scan that passes volume.check_volume: yields its doses, ascending, each made when it is asked for.

    Returns the uncertainty and the report. `report` gets input, warning and progress messages (MAPDiffLib/job.py).
    InputError, before any long work, for a scan or options that cannot work; Cancelled when `cancelled()` turns true.
    """
    clock = _Clock()
    setting = _prepare(volume, bundle, options, report)
    way = setting.way
    clock.lap("prepare")
    progress = _Progress(report, way, volume.voxels.size)
    evaluations = evaluate_path(
        setting.network, Diffusion(**bundle.manifest["diffusion"]), setting.grid.take(setting.scan), setting.intensity,
        setting.told_dose, way.timesteps, way.samples, options.seed, progress.add, cancelled,
    )  # fmt: skip
    full, anchored, spread = _estimates(evaluations, setting, progress)
    full, guard = setting.guarded(full)
    clock.lap("evaluations")

    whole = torch.from_numpy(volume.voxels)
    figures: dict[float, dict[str, float]] = {}
    below, lower = way.input_dose, setting.scan  # the nearest anchor below, for doses between two anchors
    for anchor in way.anchor_doses:
        image = full if anchor == 1.0 else mix(setting.scan, full, way.input_dose, anchor)
        if anchor in anchored:
            image = torch.lerp(image, setting.guarded(anchored.pop(anchor))[0], way.anchored_share(anchor))
        for dose in way.doses_up_to(anchor, below):
            if cancelled():
                raise Cancelled("cancelled")
            wanted = image if dose == anchor else mix(lower, image, below, dose, anchor)
            figures[dose] = _figures(wanted, setting, guard)
            restored = setting.into(whole, torch.where(setting.inside, wanted, setting.scan))
            figures[dose]["seconds"] = clock.lap(f"{dose_label(dose)} dose")
            yield RestoredDose(dose, restored, figures[dose], way.input_dose, way.dose_assumed)
            del restored  # a whole volume, which may be half a gigabyte, is not kept while the next is made
        below, lower = anchor, image

    uncertainty = None
    if spread is not None:
        scaled = setting.grid.give(spread) * way.uncertainty_scale * setting.inside
        uncertainty = setting.into(torch.zeros_like(whole), scaled)
    clock.lap("uncertainty")
    return Restoration(uncertainty, _summary(setting, bundle, options, clock, figures))


def _prepare(volume: Volume, bundle: Bundle, options: RestoreOptions, report: Report) -> _Setting:
    body = volume.body
    intensity = Intensity.of_scan(volume.voxels, body, bundle.manifest["intensity"]["body_mean"])
    estimate = plan.estimate_input_dose(volume, body, bundle)
    way = plan.make_plan(bundle, options, estimate)
    compute = choose_compute(options.device, options.precision)
    box = BodyBox.around(body, 1)
    scan, inside = (torch.from_numpy(array[box.slices].copy()) for array in (volume.voxels, body))
    measured = way.noise_voxels or way.wide_noise
    widths = noise_widths(volume.voxels, body, volume.spacing_mm) if measured else None
    wanted = wanted_voxels(widths, way.noise_voxels, max(bundle.manifest["spacing_range_mm"]))
    grid = WorkingGrid.of(scan.shape, volume.spacing_mm, wanted, bundle.network.config.stride)

    warnings: list[str] = []

    def warn(message: str) -> None:
        warnings.append(message)
        report({"type": "warning", "message": message})

    # What the sampler and the estimates hold, and as much again for what they pass through while they are made.
    held = (2 * len(way.anchors) + 16) * math.ceil(math.prod(grid.shape) / math.prod(grid.working))
    network = TiledNetwork(
        bundle.network, grid.take_mask(inside), compute, options.tile, warn, held, options.gpu_memory_gb
    )  # fmt: skip
    report({"type": "input", **plan.about_input(way, estimate)})
    for message in (*volume.warnings, *plan.cautions(volume, bundle, way, estimate)):
        warn(message)
    told_dose = way.told_dose(widths)
    if told_dose < UNLIKE * way.input_dose:
        warn(
            f"The scan's noise is wider than any in training; it is restored as one of 1/{1 / told_dose:.0f} dose."
            " Judge with care."
        )
    scan, inside = scan.to(network.home), inside.to(network.home)
    return _Setting(volume, box, grid, scan, inside, intensity, estimate, way, told_dose, network, warnings)


def _figures(image: torch.Tensor, setting: _Setting, guard: GuardReport) -> dict[str, float | None]:
    inside = setting.inside
    return {
        **{f"guard_{name}": value for name, value in asdict(guard).items()},
        "noise": relative_noise(image, inside, setting.volume.spacing_mm),
        "mean_in_body": float((image * inside).sum(dtype=torch.float64) / inside.sum()),
    }


def _summary(setting: _Setting, bundle: Bundle, options: RestoreOptions, clock: _Clock, figures: dict) -> dict:
    way, network = setting.way, setting.network
    return {
        "mapdiff": __version__,
        "torch": torch.__version__,
        "bundle": {"name": bundle.name, "sha256": bundle.sha256},
        "input": _input_facts(setting),
        "sampling": {
            "timesteps": list(way.timesteps),
            "samples": way.samples,
            "evaluations": evaluations_of(way.timesteps, way.samples),
            "seed": options.seed,
        },
        "device": str(network.device),
        "precision": str(network.dtype).removeprefix("torch."),
        "tile_edges": list(network.edges),
        "told_dose": setting.told_dose,
        "working_spacing_mm": list(setting.grid.spacing_mm(setting.volume.spacing_mm)),
        "warnings": setting.warnings,
        "seconds": clock.seconds,
        "doses": {f"{dose:g}": values for dose, values in figures.items()},
        "notice": RESEARCH_USE,
    }


def _input_facts(setting: _Setting) -> dict:
    volume, body = setting.volume, setting.volume.body
    facts = {
        "shape_zyx": list(volume.voxels.shape),
        "spacing_mm": list(volume.spacing_mm),
        "origin_mm": list(volume.origin_mm),
        "direction": list(volume.direction),
        "units": volume.units,
        "body_litres": float(body.sum() * np.prod(volume.spacing_mm) / 1e6),
        "mean_in_body": float(volume.voxels[body].mean(dtype=np.float64)),
        **{name: fact for name, fact in plan.about_input(setting.way, setting.estimate).items() if name != "message"},
        "metadata": {name: text for name, text in volume.metadata.items() if name != "source_geometry"},
    }
    return facts | ({"dose_estimated": asdict(setting.estimate)} if setting.estimate else {})


def _estimates(
    evaluations: Iterator[Evaluation], setting: _Setting, progress: _Progress
) -> tuple[torch.Tensor, dict[float, torch.Tensor], torch.Tensor | None]:
    """(full dose: the weighted mean of all x0_hat; the x0_hat at the anchors that have a share, by dose; the spread).

    All in the scan's units. The weights and shares are the bundle's, fitted on validation cases (posthoc_fit.py).
    """
    way, full, anchored, spread = setting.way, torch.zeros_like(setting.scan), {}, None
    for evaluation, weight in zip(evaluations, way.estimate_weights(), strict=True):
        x0_hat, spread = setting.grid.give(evaluation.x0_hat), evaluation.spread
        full.add_(x0_hat, alpha=weight)
        anchor = way.anchors.get(evaluation.t)
        if anchor is not None:
            progress.next_stage()
            if way.anchored_share(anchor):
                anchored[anchor] = x0_hat
    return full, anchored, spread


class _Progress:
    """Turns shares of the evaluations into progress messages: fraction, the dose on the way to, seconds left.

    The first tile does not count for the pace: noise is drawn and kernels are built in its time.
    """

    def __init__(self, report: Report, way: Plan, voxels: int):
        self.report, self.stages = report, [f"{dose_label(dose)} dose" for dose in way.stages]
        results = len(way.doses) + (way.samples > 1)  # the doses and the uncertainty
        self.finishing_s = RESULT_S_PER_VOXEL * voxels * results
        self.done, self.first, self.working_s, self.mark = 0.0, 0.0, 0.0, time.monotonic()

    def add(self, share: float) -> None:
        before, self.mark = self.mark, time.monotonic()
        seconds = self.mark - before
        self.done = min(1.0, self.done + share)
        if self.first:
            self.working_s += seconds
            pace = self.working_s / (self.done - self.first)
        else:
            self.first, pace = self.done, seconds / self.done
        remaining_s = (1 - self.done) * pace + self.finishing_s
        progress = {"fraction": round(self.done, 4), "stage": self.stages[0], "remaining_s": round(remaining_s, 1)}
        self.report({"type": "progress", **progress})

    def next_stage(self) -> None:
        """The path has passed an anchor."""
        self.stages = self.stages[1:] or self.stages
