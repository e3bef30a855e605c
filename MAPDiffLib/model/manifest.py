"""bundle.json: checked and parsed once into a frozen Manifest. A refusal names the file, what it says and the rule."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from pathlib import Path

from MAPDiffLib.errors import BundleError
from MAPDiffLib.model.diffusion import Diffusion
from MAPDiffLib.model.json_checks import built, check_keys, items, mapping, number, numbers, rising, text, whole
from MAPDiffLib.model.network import NetworkConfig

FORMAT_VERSION = 5
MANIFEST_FILE = "bundle.json"
MANIFEST_LIMIT_BYTES = 1_000_000
KEYS = {
    *("format_version", "name", "description", "licence", "weights_sha256", "network", "diffusion", "anchors"),
    *("sampling", "input_doses", "spacing_range_mm", "intensity", "dose_estimate", "training_data", "scores"),
}
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")  # never a path: no separator, no leading dot


@dataclass(frozen=True)
class Anchor:
    """A real dose on the way and its calibrated timestep."""

    dose: float
    tau: int


@dataclass(frozen=True)
class DoseCalibration:
    """Noise of scans of known dose: log(noise) per log(dose), and how far single scans scatter (sd of log dose)."""

    doses: tuple[float, ...]
    noise: tuple[float, ...]
    scatter: float


@dataclass(frozen=True)
class WideNoise:
    """The volume in mm3 of the widest noise in training, and the power of what exceeds it (plan.conditioning_dose)."""

    mm3: float
    power: float


@dataclass(frozen=True)
class Fit:
    """What validation cases of one input dose decided.

    samples: of the first evaluation. ensemble_weights: {timestep: weight of its x0_hat in full dose}; its timesteps are
    the stops of the path, {} stands for all of them and the mean of the last three. uncertainty_scale: from the spread
    of the samples to one standard deviation. noise_voxels: the widest noise in training in voxels, axial and in plane.
    """

    input_dose: float
    samples: int
    ensemble_weights: Mapping[int, float]
    uncertainty_scale: float
    noise_voxels: tuple[float, float] | None = None
    wide_noise: WideNoise | None = None


@dataclass(frozen=True)
class Manifest:
    """All that a bundle says of itself. anchors: ascending in dose, the last is full dose; timesteps: where a path may
    stop, falling; fits: one per input dose; input_doses: those of training; dose_calibration: None where not known."""

    name: str
    description: str
    licence: str
    weights_sha256: str
    network: NetworkConfig
    diffusion: Diffusion
    anchors: tuple[Anchor, ...]
    timesteps: tuple[int, ...]
    fits: tuple[Fit, ...]
    input_doses: tuple[float, ...]
    spacing_range_mm: tuple[float, float]
    body_mean_suv: float
    dose_calibration: DoseCalibration | None
    training_data: Mapping
    scores: Mapping

    def to_dict(self) -> dict:
        """The content of bundle.json: `parse_manifest` makes the same Manifest of it."""
        return {
            "format_version": FORMAT_VERSION,
            **{name: getattr(self, name) for name in ("name", "description", "licence", "weights_sha256")},
            "network": asdict(self.network),
            "diffusion": asdict(self.diffusion),
            "anchors": [asdict(anchor) for anchor in self.anchors],
            "sampling": {"timesteps": list(self.timesteps), "fits": [fit_to_dict(fit) for fit in self.fits]},
            "input_doses": list(self.input_doses),
            "spacing_range_mm": list(self.spacing_range_mm),
            "intensity": {"transform": "log1p", "body_mean": self.body_mean_suv},
            "dose_estimate": asdict(self.dose_calibration) if self.dose_calibration else {},
            "training_data": self.training_data,
            "scores": self.scores,
        }


def fit_to_dict(fit: Fit) -> dict:
    """A fit as bundle.json holds it."""
    content = {name: value for name, value in asdict(fit).items() if value is not None}
    return content | {"ensemble_weights": {str(t): weight for t, weight in fit.ensemble_weights.items()}}


def read_manifest(path: Path) -> Manifest:
    """The Manifest in a bundle.json. BundleError names the file, what is wrong and what to do."""
    try:
        if path.stat().st_size > MANIFEST_LIMIT_BYTES:
            raise BundleError(f"{path} has {path.stat().st_size} bytes; at most {MANIFEST_LIMIT_BYTES} are read")
        content = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except OSError as error:
        raise BundleError(f"{path} cannot be read ({error.strerror}); a bundle folder holds this file") from error
    except (ValueError, RecursionError) as error:
        if isinstance(error, BundleError):
            raise
        raise BundleError(f"{path} is not JSON ({error}); copy the bundle again") from error
    return parse_manifest(content, path)


def parse_manifest(content: object, path: Path) -> Manifest:
    """The Manifest of a bundle.json's content. BundleError, which names `path`, unless every key is there, known, of
    its type and in its range."""
    try:
        return _parsed(content)
    except BundleError as error:
        raise BundleError(f"{path}: {error}") from None


def _parsed(content: object) -> Manifest:
    if not isinstance(content, dict):
        raise BundleError(f"holds {type(content).__name__}; one JSON object is needed")
    _check_version(content.get("format_version"))
    check_keys("the manifest", content, KEYS)
    if not NAME.fullmatch(text(content, "name")):
        raise BundleError(f"name is {content['name']!r}; letters, digits, '.', '_' and '-' are needed")
    if not re.fullmatch(r"[0-9a-f]{64}", text(content, "weights_sha256")):
        raise BundleError(f"weights_sha256 is {content['weights_sha256']!r}; 64 hexadecimal digits are needed")
    diffusion = _diffusion(mapping(content, "diffusion"))
    anchors = _anchors(content["anchors"], diffusion.timesteps)
    timesteps, fits = _sampling(mapping(content, "sampling"), anchors, diffusion.timesteps)
    return Manifest(
        name=content["name"],
        description=text(content, "description"),
        licence=text(content, "licence"),
        weights_sha256=content["weights_sha256"],
        network=_network(mapping(content, "network")),
        diffusion=diffusion,
        anchors=anchors,
        timesteps=timesteps,
        fits=fits,
        input_doses=rising("input_doses", content["input_doses"], 0.001, 1),
        spacing_range_mm=_spacing_range(content["spacing_range_mm"]),
        body_mean_suv=_body_mean(mapping(content, "intensity")),
        dose_calibration=_dose_calibration(mapping(content, "dose_estimate")),
        training_data=mapping(content, "training_data"),
        scores=mapping(content, "scores"),
    )


def _check_version(version: object) -> None:
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise BundleError(f"format_version is {version!r}; {FORMAT_VERSION} is needed")
    if version != FORMAT_VERSION:
        advice = "export its run again" if version < FORMAT_VERSION else "update MAPDiff"
        raise BundleError(f"format_version is {version}, this MAPDiff reads {FORMAT_VERSION}; {advice}")


def _network(config: Mapping) -> NetworkConfig:
    """Bounded before anything is built."""
    defaults = {field.name: field.default for field in fields(NetworkConfig)}
    check_keys("network", config, set(defaults))
    for name, value in config.items():
        kind = type(defaults[name])
        if type(value) not in {tuple: (list, tuple), float: (int, float)}.get(kind, (kind,)):
            raise BundleError(f"network.{name} is {value!r}; something like {defaults[name]!r} is needed")
    return built("network", NetworkConfig, config)


def _diffusion(config: Mapping) -> Diffusion:
    check_keys("diffusion", config, {"timesteps", "schedule", "prediction"})
    whole("diffusion.timesteps", config["timesteps"], 2, 100_000)
    return built("diffusion", Diffusion, config)


def _anchors(content: object, timesteps: int) -> tuple[Anchor, ...]:
    anchors = []
    for index, anchor in enumerate(items("anchors", content, 50)):
        if not isinstance(anchor, dict):
            raise BundleError(f'anchors[{index}] is {anchor!r}; {{"dose": ..., "tau": ...}} is needed')
        check_keys(f"anchors[{index}]", anchor, {"dose", "tau"})
        anchors.append(Anchor(anchor["dose"], whole(f"anchors[{index}].tau", anchor["tau"], 0, timesteps - 1)))
    doses = rising("the anchors' doses", [anchor.dose for anchor in anchors], 0.001, 1)
    if doses[-1] != 1:
        raise BundleError(f"the last anchor's dose is {doses[-1]:g}; 1 (full dose) is needed")
    taus = [anchor.tau for anchor in anchors]
    if any(late >= early for early, late in pairwise(taus)):
        raise BundleError(f"the anchors' tau are {taus}; they must fall as the dose rises")
    return tuple(anchors)


def _sampling(
    sampling: Mapping, anchors: tuple[Anchor, ...], timesteps: int
) -> tuple[tuple[int, ...], tuple[Fit, ...]]:
    check_keys("sampling", sampling, {"timesteps", "fits"})
    steps = items("sampling.timesteps", sampling["timesteps"], 1000, " whole numbers")
    for step in steps:
        whole("sampling.timesteps", step, 0, timesteps - 1)
    if any(late >= early for early, late in pairwise(steps)):
        raise BundleError(f"sampling.timesteps are {steps}; they must fall strictly")
    if missing := [anchor.tau for anchor in anchors[:-1] if anchor.tau not in steps[:-1]]:
        raise BundleError(f"the anchors' tau {missing} are not among sampling.timesteps {steps} before the last")
    content = items("sampling.fits", sampling["fits"], 50)
    fits = [_fit(f"sampling.fits[{index}]", fit, steps) for index, fit in enumerate(content)]
    rising("the input doses of sampling.fits", [fit.input_dose for fit in fits], 0.001, 1)
    return tuple(steps), tuple(fits)


def _fit(what: str, fit: object, steps: list[int]) -> Fit:
    if not isinstance(fit, dict):
        raise BundleError(f"{what} is {fit!r}; an object is needed")
    needed = {"input_dose", "samples", "ensemble_weights", "uncertainty_scale"}
    check_keys(what, fit, needed, {"noise_voxels", "wide_noise"})
    weights = mapping(fit, "ensemble_weights")
    for step, weight in weights.items():
        number(f"{what}.ensemble_weights[{step!r}]", weight, -10, 10)
    known, stops = [str(step) for step in steps], set(weights)
    if stops and not {known[0], known[-1]} <= stops <= set(known):
        raise BundleError(
            f"{what} weighs the timesteps {sorted(stops)} in full dose; some of sampling.timesteps {known} are needed,"
            " the first and the last among them"
        )
    noise_voxels = numbers(f"{what}.noise_voxels", fit["noise_voxels"], 0.01, 50) if "noise_voxels" in fit else None
    if noise_voxels is not None and len(noise_voxels) != 2:
        raise BundleError(f"{what}.noise_voxels is {fit['noise_voxels']}; [axial, in plane] is needed")
    return Fit(
        fit["input_dose"],
        whole(f"{what}.samples", fit["samples"], 1, 64),
        {int(step): weight for step, weight in weights.items()},
        number(f"{what}.uncertainty_scale", fit["uncertainty_scale"], 1e-6, 1e6),
        noise_voxels,
        _wide_noise(f"{what}.wide_noise", mapping(fit, "wide_noise")) if "wide_noise" in fit else None,
    )


def _wide_noise(what: str, content: Mapping) -> WideNoise:
    check_keys(what, content, {"mm3", "power"})
    return WideNoise(number(f"{what}.mm3", content["mm3"], 0.01, 1e6), number(f"{what}.power", content["power"], 0, 5))


def _spacing_range(content: object) -> tuple[float, float]:
    low_high = numbers("spacing_range_mm", content, 0.1, 50)
    if len(low_high) != 2 or low_high[0] > low_high[1]:
        raise BundleError(f"spacing_range_mm is {list(low_high)}; [smallest, largest] is needed")
    return low_high


def _dose_calibration(curve: Mapping) -> DoseCalibration | None:
    """Empty, or noise that falls while the dose rises."""
    if not curve:
        return None
    check_keys("dose_estimate", curve, {"doses", "noise", "scatter"})
    doses = rising("dose_estimate.doses", curve["doses"], 0.0001, 1)
    noise = curve["noise"]
    if not isinstance(noise, list) or len(noise) != len(doses):
        raise BundleError(f"dose_estimate.noise is {noise!r}; one number for each of its {len(doses)} doses is needed")
    rising("dose_estimate.noise (from its end)", noise[::-1], 1e-6, 100)
    return DoseCalibration(doses, tuple(noise), number("dose_estimate.scatter", curve["scatter"], 0, 10))


def _body_mean(intensity: Mapping) -> float:
    check_keys("intensity", intensity, {"transform", "body_mean"})
    if intensity["transform"] != "log1p":
        raise BundleError(f"intensity.transform is {intensity['transform']!r}; 'log1p' is needed")
    return number("intensity.body_mean", intensity["body_mean"], 1e-3, 1e3)


def _refuse_constant(constant: str):
    raise BundleError(f"bundle.json says {constant}; only finite numbers are read")
