"""Whether what a reader sees in a scan is in the result, and whether its numbers hold: the figures of a case.

The local guard, the places to check, the best estimate of a region, drawn scans. On validation cases these figures are
what a bundle's Fidelity is fitted by (fidelity_fit.py), on unseen ones what it is judged by (fidelity_table.py).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from MAPDiffLib.files import written_whole
from MAPDiffLib.job import GUARDS, RestoreOptions
from MAPDiffLib.model.bundle import Bundle
from MAPDiffLib.model.fidelity import DRAWN_PER_MM, Fidelity
from MAPDiffLib.model.loss_odds import LossOdds
from MAPDiffLib.report.metrics import nmae
from MAPDiffLib.restoration.activity_guard import guard_activity, put_back
from MAPDiffLib.restoration.consistency import Consistency
from MAPDiffLib.restoration.dose_scans import NoiseTexture, dose_scans
from MAPDiffLib.restoration.doses import ANCHOR_DOSES, at_dose, own_share
from MAPDiffLib.restoration.losses import Peak, apart, find_peaks
from MAPDiffLib.restoration.quantify import Quantifier, best_estimate
from MAPDiffLib.restoration.restore import restore
from MAPDiffLib.scan.volume import Volume
from training.cases.case_file import read_dose
from training.evaluation.case import TestCase
from training.scores.contrast import LesionSite, recovered
from training.scores.free_response import free_response
from training.scores.hotspots import hottest_nearby, spots_over
from training.scores.known_anatomy import known_anatomy_response
from training.scores.organ_noise import even_part, roughness, spectrum, variation

NEAR_MM = 15.0  # a place to check this near a lesion's centre is that lesion's
FAINT_SNR = (6.0, 10.0)  # of lesions that a guard is there for: in the scan no noise looks like them, a network may err
LOST, INTACT = 0.7, 0.9  # recovered contrast below which a lesion is lost, and from which it is not
LEAST_LOG_ODDS = -4.0  # of a place that is recorded
LARGE_MM = 10.0
DRAWS = (1, 2)  # seeds: two are needed for CRPS


@dataclass(frozen=True)
class RestoredCase:
    """A case, its scan of `input_dose`, and the estimate without noise [z, y, x] from it, nothing put back yet; odds:
    what tells where it lost something."""

    case: TestCase
    scan: Volume
    input_dose: float
    estimate: np.ndarray
    odds: LossOdds

    @classmethod
    def of(cls, folder: Path, bundle: Bundle, odds: LossOdds, input_dose: float, kept: Path) -> RestoredCase:
        """Restored once by a model: what is in the folder `kept` is read."""
        scan, path = read_dose(folder, input_dose), kept / f"{_name(folder, bundle, input_dose)}.npy"
        if not path.exists():
            options = RestoreOptions(doses=(1.0,), input_dose=input_dose, guard="off")
            (plain,) = restore(scan, bundle, options)
            kept.mkdir(parents=True, exist_ok=True)
            with written_whole(path) as partial, open(partial, "wb") as file:
                np.save(file, plain.volume.voxels)
        share = own_share(input_dose, 1.0)  # full dose holds the scan's counts too
        estimate = (np.load(path) - share * scan.voxels) / (1 - share)
        return cls(TestCase(folder), scan, input_dose, np.float32(estimate), odds)

    @cached_property
    def consistency(self) -> Consistency:
        """The scan against this estimate."""
        tensors = (torch.from_numpy(array) for array in (self.estimate, self.scan.voxels, self.scan.body))
        return guard_activity(*tensors, self.scan.spacing_mm).consistency

    @cached_property
    def peaks(self) -> list[Peak]:
        """Where the scan holds most that the estimate lacks."""
        return find_peaks(self.consistency, self.odds)

    def guarded(self, threshold: float | None) -> np.ndarray:
        """The estimate with activity put back where the log-odds of a loss are beyond the threshold."""
        image, _ = put_back(self.consistency, self.peaks, threshold)
        return np.where(self.scan.body, image.numpy(), self.scan.voxels)

    def full(self, threshold: float | None) -> np.ndarray:
        """Full dose made of it, as a restoration gives it."""
        return at_dose(self.scan.voxels, self.guarded(threshold), self.input_dose, 1.0)

    def guard_figures(self, threshold: float | None) -> dict:
        """The guarded full dose's error, what is left of lesions of FAINT_SNR, how many false hot spots it has over the
        real one's, and what a detector finds in it; the last two None where the truth is not known."""
        case, image, more = self.case, self.full(threshold), None
        if case.truth is not None:
            more = self._hot_spots(image) - self._real_hot_spots
        return {
            "nmae": nmae(image, case.full.voxels, case.body),
            "recovered": [recovered(site, image, case.full.voxels) for site in self._faint_sites],
            "more_hot_spots": more,
            "found": self.found(image),
        }

    def found(self, image: np.ndarray) -> dict | None:
        """What a fixed detector finds in an image (free_response.py); None where the truth is not known."""
        case = self.case
        if case.noise_free is None:
            return None
        masks = [lesion.mask for lesion in case.lesions]
        return asdict(free_response(image, case.noise_free, masks, case.body, self.scan.spacing_mm))

    def found_knowing_anatomy(self) -> dict | None:
        """What an observer finds in the scan who knows the anatomy (known_anatomy.py); None where nobody knows it."""
        case = self.case
        if case.noise_free is None:
            return None
        masks = [lesion.mask for lesion in case.lesions]
        scan, spacing_mm = self.scan.voxels, self.scan.spacing_mm
        return asdict(known_anatomy_response(scan, case.noise_free, masks, case.sites, case.body, spacing_mm))

    def lesions_at(self, indices: np.ndarray) -> np.ndarray:
        """The number of the lesion that each voxel [n, 3] is at, -1 for none; [n]."""
        if not self.case.sites:
            return np.full(len(indices), -1)
        centres = np.array([site.centre for site in self.case.sites])
        steps = (indices[:, None] - centres) * self.scan.spacing_mm[::-1]
        away = np.linalg.norm(steps, axis=2)  # [n, lesions]
        return np.where(away.min(axis=1) <= NEAR_MM, away.argmin(axis=1), -1)

    @cached_property
    def left_by_network(self) -> list[float]:
        """The share of each lesion's contrast that is left with nothing put back; nan where it has none."""
        image, real = self.full(None), self.case.full.voxels
        return [recovered(site, image, real) for site in self.case.sites]

    def _hot_spots(self, image: np.ndarray) -> int:
        return spots_over(image, self._hottest, self.case.body, self.scan.spacing_mm)

    @cached_property
    def _faint_sites(self) -> list[LesionSite]:
        scan, real, (low, high) = self.scan.voxels, self.case.full.voxels, FAINT_SNR
        seen = [site for site in self.case.sites if low <= site.signal_to_noise(scan, real) < high]
        return [site for site in seen if np.isfinite(recovered(site, real, real))]

    @cached_property
    def _hottest(self) -> np.ndarray:
        return hottest_nearby(self.case.truth, self.scan.spacing_mm)

    @cached_property
    def _real_hot_spots(self) -> int:
        return self._hot_spots(self.case.full.voxels)


def _name(folder: Path, bundle: Bundle, input_dose: float) -> str:
    """Of a case restored by a model: other weights, sampling or dose have another."""
    made_of = (folder.resolve(), bundle.manifest.weights_sha256, bundle.manifest.sampling, input_dose)
    return f"{folder.name}-{hashlib.sha256(repr(made_of).encode()).hexdigest()[:16]}"


@dataclass(frozen=True)
class RestoredCases(Iterable[RestoredCase]):
    """One after another as often as they are gone through, never two in memory; restored by `bundle` once for all."""

    folders: Sequence[Path]
    bundle: Bundle
    odds: LossOdds
    input_dose: float
    kept: Path

    def __iter__(self) -> Iterator[RestoredCase]:
        for folder in tqdm(self.folders, desc="fidelity"):
            yield RestoredCase.of(folder, self.bundle, self.odds, self.input_dose, self.kept)

    def __len__(self) -> int:
        return len(self.folders)


def thresholds(fidelity: Fidelity) -> dict[str, float | None]:
    """Those of the guard's strengths, by name."""
    return {strength: fidelity.guard(strength) for strength in GUARDS}


def figures(restored: RestoredCase, fidelity: Fidelity) -> dict:
    """All figures of a case, as JSON has them."""
    case = restored.case
    images = {name: restored.full(threshold) for name, threshold in thresholds(fidelity).items()}
    quantifier = Quantifier(
        restored.scan.voxels, images["normal"], restored.scan.body, restored.scan.spacing_mm, fidelity
    )
    return {
        "case": case.name,
        "scanner": case.scanner,
        "relative_noise": quantifier.relative_noise,
        "lesions": _lesions(restored, quantifier, images),
        "guard": {name: restored.guard_figures(threshold) for name, threshold in thresholds(fidelity).items()},
        "found": {
            "scan": restored.found(restored.scan.voxels),
            "real": restored.found(case.full.voxels),
            "known": restored.found_knowing_anatomy(),
        },
        "places": _places(restored),
        "scans": drawn_figures(restored, fidelity),
    }


def _lesions(restored: RestoredCase, quantifier: Quantifier, images: Mapping[str, np.ndarray]) -> list[dict]:
    """deviation: what the restoration took away from such a mean, noise: what the scan's noise is, both measured next
    to the lesion."""
    case, scan, rows = restored.case, restored.scan.voxels, []
    real = case.full.voxels
    noise = (scan - real) / np.sqrt(1 - restored.input_dose)  # doses are nested
    for lesion, site in zip(case.lesions, case.sites, strict=True):
        of = {name: site.mean_and_max(image)[0] for name, image in (("scan", scan), ("full", quantifier.full))}
        taken_away = quantifier.taken_away(lesion.mask)
        deviation = taken_away * quantifier.activity_left_out(**of)
        best = best_estimate(**of, deviation=quantifier.noise_factor * deviation, fidelity=quantifier.fidelity)
        rows.append(
            {
                "diameter_mm": lesion.diameter_mm,
                "snr": _finite(site.signal_to_noise(scan, real)),
                "recovered": {name: _finite(recovered(site, image, real)) for name, image in images.items()},
                "real": site.mean_and_max(real)[0],
                **of,
                **{name: _finite(value) for name, value in asdict(best).items()},
                "deviation": _finite(deviation),
                "taken_away": _finite(taken_away),
                "noise": _finite(quantifier.taken_away(lesion.mask, noise)),
            }
        )
    return rows


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _places(restored: RestoredCase) -> list[dict]:
    """Each place where a loss is not wholly unlikely, with the lesion that it is at (None: none)."""
    found = apart(restored.peaks, LEAST_LOG_ODDS, restored.scan.spacing_mm, most=1000)
    lesions = restored.lesions_at(np.array([peak.index for peak in found]).reshape(-1, 3))
    return [
        {"log_odds": peak.log_odds, "z": peak.z, "lesion": int(at) if at >= 0 else None}
        for peak, at in zip(found, lesions, strict=True)
    ]


def drawn_figures(restored: RestoredCase, fidelity: Fidelity) -> dict[str, dict]:
    """Per dose that was measured, ascending: drawn scans beside the real one."""
    case, scan, d0 = restored.case, restored.scan, restored.input_dose
    estimate = restored.guarded(fidelity.guard_normal)
    real = {dose: image for dose, image in case.real(above=d0 * 1.01).items() if dose in ANCHOR_DOSES}
    tensors, texture = _texture(restored, estimate, fidelity)
    draws = [dict(dose_scans(*tensors, texture, d0, list(real), seed)) for seed in DRAWS]
    around = texture.around(tensors[1], DRAWS[0]).numpy()
    lesions = [lesion.mask for lesion in case.lesions]
    liver = even_part(case.organs.get("liver"), lesions, scan.spacing_mm)
    large = [lesion.mask for lesion in case.lesions if lesion.diameter_mm >= LARGE_MM]
    rows = {}
    for dose, image in real.items():
        one, other = (draw[dose].numpy() for draw in draws)
        mean = at_dose(scan.voxels, estimate, d0, dose)
        rows[f"{dose:g}"] = {
            "times": dose / d0,
            "relative_noise": texture.typical,
            "crps": _crps(one, other, image, mean, case.body),
            "maximum": float(np.median([one[m].max() / image[m].max() - 1 for m in large])) if large else None,
            "roughness": float(np.divide(*(roughness(each, case.body, scan.spacing_mm) for each in (one, image)))),
        }
        if liver is not None:
            rows[f"{dose:g}"] |= _liver(one, image, at_dose(scan.voxels, around, d0, dose), liver, scan.spacing_mm)
    return rows


def drawn_roughness(restored: RestoredCase, fidelity: Fidelity, details: Sequence[float]) -> list[float]:
    """Of a drawn full-dose scan with each of `details` (Fidelity.drawn_detail), over the real one's."""
    case, scan = restored.case, restored.scan
    tensors, texture = _texture(restored, restored.guarded(fidelity.guard_normal), fidelity)
    real, found = roughness(case.full.voxels, case.body, scan.spacing_mm), []
    for detail in details:
        chosen = replace(texture, detail=detail)
        ((_, drawn),) = dose_scans(*tensors, chosen, restored.input_dose, [1.0], DRAWS[0])
        found.append(roughness(drawn.numpy(), case.body, scan.spacing_mm) / real)
    return found


def _texture(
    restored: RestoredCase, estimate: np.ndarray, fidelity: Fidelity
) -> tuple[list[torch.Tensor], NoiseTexture]:
    """(scan, estimate and body, as dose_scans takes them; the noise that is drawn)."""
    scan = restored.scan
    tensors = [torch.from_numpy(array) for array in (scan.voxels, estimate, scan.body)]
    return tensors, NoiseTexture.of(*tensors, scan.spacing_mm, fidelity)


def _crps(one: np.ndarray, other: np.ndarray, real: np.ndarray, mean: np.ndarray, body: np.ndarray) -> float:
    """Of two draws, over the mean's absolute error."""
    errors = [np.abs(image - real)[body].mean(dtype=float) for image in (one, other, mean)]
    apart = np.abs(one - other)[body].mean(dtype=float)
    return float(((errors[0] + errors[1]) / 2 - apart / 2) / errors[2])


def _liver(one: np.ndarray, real: np.ndarray, around: np.ndarray, liver: np.ndarray, spacing_mm) -> dict:
    """variation: coefficient over the real one's. Per band, as shares of the real one's power: spectrum, of the drawn
    scan; missing, what it was drawn around has less; drawn, of its noise, by DRAWN_PER_MM."""
    own, whole, middle = (spectrum(image, liver, spacing_mm) for image in (real, one, around))
    drawn = spectrum(one - around, liver, spacing_mm, DRAWN_PER_MM)  # [bands, nodes]
    return {
        "variation": variation(one, liver) / variation(real, liver),
        "spectrum": (whole / own).tolist(),
        "drawn": (drawn / own[:, None]).tolist(),
        "missing": (1 - middle / own).tolist(),
    }
