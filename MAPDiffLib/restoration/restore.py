"""Volume -> each dose, one after another.

facts -> plan -> body's box -> working grid -> mean of mirrored samples, told the scan's noise -> the box again ->
activity guard -> each dose: the scan by its share and that estimate by the rest, or a scan of that dose, drawn -> the
scan's units and geometry -> where scan and estimate differ

The estimate, of the scan without noise, does not depend on the dose that the scan is taken for: that only says how much
of each result the scan itself is.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import asdict, dataclass, replace
from functools import cached_property

import torch

from MAPDiffLib.errors import Cancelled
from MAPDiffLib.job import RestoreOptions, dose_key, dose_title
from MAPDiffLib.model.bundle import Bundle
from MAPDiffLib.model.fidelity import Fidelity
from MAPDiffLib.model.loss_odds import LossOdds
from MAPDiffLib.restoration.activity_guard import GuardReport, guard_activity, put_back
from MAPDiffLib.restoration.box import BodyBox
from MAPDiffLib.restoration.device import choose_compute
from MAPDiffLib.restoration.dose_scans import NoiseTexture, dose_scans
from MAPDiffLib.restoration.doses import at_dose, own_share
from MAPDiffLib.restoration.facts import measure
from MAPDiffLib.restoration.intensity import Intensity
from MAPDiffLib.restoration.losses import Peak, Place, find_peaks, places_to_check, position_mm
from MAPDiffLib.restoration.noise import RelativeNoise
from MAPDiffLib.restoration.plan import Plan, about_input, cautions, make_plan
from MAPDiffLib.restoration.progress import Progress
from MAPDiffLib.restoration.run_report import Record, run_report
from MAPDiffLib.restoration.sampling import ScanDenoiser, mean_of_samples
from MAPDiffLib.restoration.tiles import TiledNetwork
from MAPDiffLib.restoration.working_grid import WorkingGrid
from MAPDiffLib.scan.file_checks import SOURCE_GEOMETRY
from MAPDiffLib.scan.volume import Volume

Report = Callable[[dict], None]

RESULT_S_PER_VOXEL = 4e-8  # what making, measuring and writing one dose takes
VOLUMES_HELD = 18  # by the sampler and the estimates, with what they pass through while made


@dataclass(frozen=True)
class RestoredDose:
    """One restored dose, with its guard and quality figures and the dose that the input was taken for, by assumption
    alone where `dose_assumed`. `drawn`: one scan of that dose, with synthetic noise, and not the mean of all."""

    dose: float
    volume: Volume
    figures: dict[str, float]
    input_dose: float
    dose_assumed: bool
    drawn: bool = False


@dataclass(frozen=True)
class _Ending:
    uncertainty: Volume | None
    consistency: Volume
    report: dict


class Restoration(Iterator[RestoredDose]):
    """A restoration under way: iterate for its doses, ascending, each made when it is asked for.

    After the last one `uncertainty` is one standard deviation of full dose (a Volume; None for one sample),
    `consistency` the scan against full dose in units of its noise (z, a Volume) and `report` what report.json says of
    the run.
    """

    def __init__(self, doses: Generator[RestoredDose, None, _Ending]):
        self._doses, self._ending = doses, None

    def __next__(self) -> RestoredDose:
        try:
            return next(self._doses)
        except StopIteration as end:
            self._ending = self._ending or end.value
            raise

    @property
    def uncertainty(self) -> Volume | None:
        """RuntimeError before the last dose was taken."""
        return self._ended().uncertainty

    @property
    def consistency(self) -> Volume:
        """RuntimeError before the last dose was taken."""
        return self._ended().consistency

    @property
    def report(self) -> dict:
        """RuntimeError before the last dose was taken."""
        return self._ended().report

    def _ended(self) -> _Ending:
        if self._ending is None:
            raise RuntimeError("the restoration has not ended: iterate over its doses first")
        return self._ending


def restore(
    volume: Volume,
    bundle: Bundle,
    options: RestoreOptions = RestoreOptions(),  # noqa: B008  (frozen)
    report: Report = lambda event: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Restoration:
    """Restore a scan that passes volume.check_volume; nothing is done before its first dose is asked for.

    `report` gets input, warning and progress messages (MAPDiffLib/job.py). Asking for the first dose raises InputError,
    before any long work, for a scan or options that cannot work, and asking for any Cancelled when `cancelled()` turns
    true.
    """
    return Restoration(_restored_doses(volume, bundle, options, report, cancelled))


def _restored_doses(
    volume: Volume, bundle: Bundle, options: RestoreOptions, report: Report, cancelled: Callable[[], bool]
) -> Generator[RestoredDose, None, _Ending]:
    record = Record(report)
    facts = measure(volume)
    plan = make_plan(facts, bundle.manifest, options)
    report({"type": "input", **about_input(plan)})
    for message in (*volume.warnings, *cautions(facts, bundle.manifest, plan)):
        record.warn(message)
    place = _Workplace.of(volume, bundle, plan, options, record.warn)
    record.lap("prepare")
    kinds = {"mean": (False,), "scan": (True,), "both": (False, True)}[options.doses_as]
    results = len(plan.doses) * len(kinds) + (plan.samples > 1) + 1  # the doses, the uncertainty, the consistency
    progress = Progress(
        report, plan.samples, dose_title(plan.doses[0]), RESULT_S_PER_VOXEL * volume.voxels.size * results
    )
    fidelity = bundle.manifest.fidelity
    intensity = Intensity(facts.mean_in_body / bundle.manifest.body_mean_suv)
    condition = intensity.to_network(place.grid.to_working(place.scan))
    told = plan.told(place.grid.spacing_mm(volume.spacing_mm))
    denoise = ScanDenoiser(place.network, bundle.manifest.diffusion, condition, told, progress, cancelled)
    estimate, spread = mean_of_samples(denoise, intensity, plan.samples, plan.seed)
    threshold = fidelity.guard(options.guard)
    guarded = place.guarded(place.grid.from_working(estimate), bundle.manifest.loss_odds, threshold)
    estimate, guard = guarded.image, guarded.report
    record.lap("evaluations")
    drawn_scans = place.scans_of(estimate, plan, fidelity) if True in kinds else iter(())
    for dose in plan.doses:
        for drawn in kinds:
            if cancelled():
                raise Cancelled("cancelled")
            image = next(drawn_scans) if drawn else at_dose(place.scan, estimate, plan.input_dose, dose)
            figures = record.figures[dose_key(dose, drawn)] = _figures(image, place, guard, plan.input_dose, dose)
            restored = place.into(torch.from_numpy(volume.voxels), torch.where(place.inside, image, place.scan))
            figures["seconds"] = record.lap(dose_title(dose, drawn))
            yield RestoredDose(dose, restored, figures, plan.input_dose, plan.dose_assumed, drawn)
            del restored  # a whole volume, which may be half a gigabyte, is not kept while the next is made
    consistency, places = place.checked(guarded, fidelity.place)
    record.lap("consistency")
    uncertainty = None
    if spread is not None:
        scaled = place.grid.from_working(spread) * plan.uncertainty_scale * place.inside
        uncertainty = place.into(torch.zeros(volume.voxels.shape), scaled)
    record.lap("uncertainty")
    checked = {"guard": options.guard, "places": [asdict(each) for each in places], "fidelity": asdict(fidelity)}
    report = run_report(volume, bundle.manifest, facts, plan, record, place.facts() | checked)
    return _Ending(uncertainty, consistency, report)


@dataclass(frozen=True)
class _Guarded:
    """An estimate with the scan's own activity, what was corrected, where the scan differed from it before anything was
    put back, and the scan's z against it; tensors [z, y, x] of the body's box."""

    image: torch.Tensor
    report: GuardReport
    peaks: list[Peak]
    z: torch.Tensor


@dataclass(frozen=True)
class _Workplace:
    """Where the work is done: in `box`, the box of the body. `scan` and `inside` are the input and the body in it, as
    tensors where the network has its volumes. The network alone works on `grid`."""

    volume: Volume
    box: BodyBox
    grid: WorkingGrid
    scan: torch.Tensor
    inside: torch.Tensor
    network: TiledNetwork

    @classmethod
    def of(
        cls, volume: Volume, bundle: Bundle, plan: Plan, options: RestoreOptions, warn: Callable[[str], None]
    ) -> _Workplace:
        compute = choose_compute(options.device, options.precision, warn)
        box = BodyBox.around(volume.body, 1)
        scan, inside = (torch.from_numpy(array[box.slices].copy()) for array in (volume.voxels, volume.body))
        grid = WorkingGrid.of(scan.shape, volume.spacing_mm, plan.noise, bundle.network.config.stride)
        body, limit = grid.mask_to_working(inside), options.gpu_memory_gb
        network = TiledNetwork(bundle.network, body, compute, options.tile, warn, VOLUMES_HELD, limit)
        device = network.volume_device
        return cls(volume, box, grid, scan.to(device), inside.to(device), network)

    @cached_property
    def relative_noise(self) -> RelativeNoise:
        """Of images of the box."""
        return RelativeNoise(self.inside, self.volume.spacing_mm)

    def into(self, background: torch.Tensor, image: torch.Tensor) -> Volume:
        """A volume: a copy of `background` [z, y, x] with `image` in its box."""
        voxels = background.clone()
        voxels[self.box.slices].copy_(image)
        return self.volume.with_voxels(voxels.numpy())

    def guarded(self, image: torch.Tensor, odds: LossOdds, threshold: float | None) -> _Guarded:
        """An image of the box with the scan's own activity, and the scan against it."""
        even = guard_activity(image, self.scan, self.inside, self.volume.spacing_mm)
        peaks = find_peaks(even.consistency, odds)
        image, local = put_back(even.consistency, peaks, threshold)
        return _Guarded(image, replace(even.report, **local), peaks, even.consistency.z(image))

    def scans_of(self, estimate: torch.Tensor, plan: Plan, fidelity: Fidelity) -> Iterator[torch.Tensor]:
        """One scan of each dose, ascending; nothing is done before the first is asked for."""
        spacing_mm, seed = self.volume.spacing_mm, plan.seed
        texture = NoiseTexture.of(self.scan, estimate, self.inside, spacing_mm, fidelity)
        for _, image in dose_scans(self.scan, estimate, self.inside, texture, plan.input_dose, plan.doses, seed):
            yield image

    def checked(self, guarded: _Guarded, threshold: float) -> tuple[Volume, list[Place]]:
        """(z of the scan against the estimate, the places to check: where guard or reader had something to do)."""
        z = guarded.z
        corner = position_mm(self.volume, [part.start for part in self.box.slices])
        images = (self.scan, guarded.image, z)
        boxes = [replace(self.volume, voxels=image.cpu().numpy(), origin_mm=corner) for image in images]
        whole = self.into(torch.zeros(self.volume.voxels.shape), z)
        geometry = {name: text for name, text in whole.metadata.items() if name == SOURCE_GEOMETRY}
        return replace(whole, units="z", metadata=geometry), places_to_check(*boxes, guarded.peaks, threshold)

    def facts(self) -> dict:
        """What report.json says of it."""
        return {
            "device": str(self.network.device),
            "precision": str(self.network.dtype).removeprefix("torch."),
            "tile_edges": list(self.network.edges),
            "working_spacing_mm": list(self.grid.spacing_mm(self.volume.spacing_mm)),
        }


def _figures(
    image: torch.Tensor, place: _Workplace, guard: GuardReport, input_dose: float, dose: float
) -> dict[str, float | None]:
    """What was put back is in a dose by the share of the estimate in it."""
    inside, share = place.inside, 1 - own_share(input_dose, dose)
    guarded = asdict(replace(guard, put_back=share * guard.put_back))
    return {
        **{f"guard_{name}": value for name, value in guarded.items()},
        "noise": place.relative_noise(image),
        "mean_in_body": float((image * inside).sum(dtype=torch.float64) / inside.sum()),
    }
