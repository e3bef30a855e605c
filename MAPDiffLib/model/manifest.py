"""bundle.json: checked and parsed once into a frozen Manifest. A refusal names the file, what it says and the rule."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from pathlib import Path

from MAPDiffLib.errors import BundleError
from MAPDiffLib.job import STRENGTHS
from MAPDiffLib.model.diffusion import Diffusion
from MAPDiffLib.model.fidelity import Fidelity, parse_fidelity
from MAPDiffLib.model.json_checks import built, check_keys, items, mapping, number, numbers, rising, text, whole
from MAPDiffLib.model.loss_odds import LossOdds, parse_loss_odds
from MAPDiffLib.model.network import NetworkConfig

FORMAT_VERSION = 7
MANIFEST_FILE = "bundle.json"
MANIFEST_LIMIT_BYTES = 1_000_000
KEYS = {
    *("format_version", "name", "description", "licence", "weights_sha256", "network", "diffusion", "anchors"),
    *("sampling", "input_doses", "noise_levels", "spacing_range_mm", "intensity", "dose_estimate"),
    *("training_data", "scores"),
}
OPTIONAL_KEYS = {"fidelity", "loss_odds"}
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
class Sampling:
    """What validation cases decided. samples: to average; strength: times the measured noise that the network is told;
    uncertainty_scales: from the spread of the samples to one standard deviation, at each of these levels of noise."""

    samples: int
    strength: float
    uncertainty_levels: tuple[float, ...]
    uncertainty_scales: tuple[float, ...]


@dataclass(frozen=True)
class Manifest:
    """All that a bundle says of itself. anchors: ascending in dose, the last is full dose; input_doses: those of
    training; noise_levels: the lowest and the highest there; dose_calibration: None where not known; fidelity and
    loss_odds: as usual where the bundle does not say them."""

    name: str
    description: str
    licence: str
    weights_sha256: str
    network: NetworkConfig
    diffusion: Diffusion
    anchors: tuple[Anchor, ...]
    sampling: Sampling
    input_doses: tuple[float, ...]
    noise_levels: tuple[float, float]
    spacing_range_mm: tuple[float, float]
    body_mean_suv: float
    dose_calibration: DoseCalibration | None
    training_data: Mapping
    scores: Mapping
    fidelity: Fidelity = Fidelity()
    loss_odds: LossOdds = LossOdds()

    def to_dict(self) -> dict:
        """The content of bundle.json: `parse_manifest` makes the same Manifest of it."""
        return {
            "format_version": FORMAT_VERSION,
            **{name: getattr(self, name) for name in ("name", "description", "licence", "weights_sha256")},
            "network": asdict(self.network),
            "diffusion": asdict(self.diffusion),
            "anchors": [asdict(anchor) for anchor in self.anchors],
            "sampling": asdict(self.sampling),
            "input_doses": list(self.input_doses),
            "noise_levels": list(self.noise_levels),
            "spacing_range_mm": list(self.spacing_range_mm),
            "intensity": {"transform": "log1p", "body_mean": self.body_mean_suv},
            "dose_estimate": asdict(self.dose_calibration) if self.dose_calibration else {},
            "training_data": self.training_data,
            "scores": self.scores,
            "fidelity": asdict(self.fidelity),
            "loss_odds": asdict(self.loss_odds),
        }


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
    check_keys("the manifest", content, KEYS, OPTIONAL_KEYS)
    if not NAME.fullmatch(text(content, "name")):
        raise BundleError(f"name is {content['name']!r}; letters, digits, '.', '_' and '-' are needed")
    if not re.fullmatch(r"[0-9a-f]{64}", text(content, "weights_sha256")):
        raise BundleError(f"weights_sha256 is {content['weights_sha256']!r}; 64 hexadecimal digits are needed")
    diffusion = _diffusion(mapping(content, "diffusion"))
    anchors = _anchors(content["anchors"], diffusion.timesteps)
    return Manifest(
        name=content["name"],
        description=text(content, "description"),
        licence=text(content, "licence"),
        weights_sha256=content["weights_sha256"],
        network=_network(mapping(content, "network")),
        diffusion=diffusion,
        anchors=anchors,
        sampling=_sampling(mapping(content, "sampling")),
        input_doses=rising("input_doses", content["input_doses"], 0.001, 1),
        noise_levels=_noise_levels(content["noise_levels"]),
        spacing_range_mm=_spacing_range(content["spacing_range_mm"]),
        body_mean_suv=_body_mean(mapping(content, "intensity")),
        dose_calibration=_dose_calibration(mapping(content, "dose_estimate")),
        training_data=mapping(content, "training_data"),
        scores=mapping(content, "scores"),
        fidelity=parse_fidelity(mapping(content, "fidelity")) if "fidelity" in content else Fidelity(),
        loss_odds=parse_loss_odds(mapping(content, "loss_odds")) if "loss_odds" in content else LossOdds(),
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


def _sampling(content: Mapping) -> Sampling:
    check_keys("sampling", content, {field.name for field in fields(Sampling)})
    levels = rising("sampling.uncertainty_levels", content["uncertainty_levels"], 1e-4, 10)
    scales = numbers("sampling.uncertainty_scales", content["uncertainty_scales"], 1e-6, 1e6)
    if len(scales) != len(levels):
        raise BundleError(f"sampling.uncertainty_scales are {list(scales)}; one for each of {len(levels)} is needed")
    samples = whole("sampling.samples", content["samples"], 1, 64)
    return Sampling(samples, number("sampling.strength", content["strength"], *STRENGTHS), levels, scales)


def _noise_levels(content: object) -> tuple[float, float]:
    levels = rising("noise_levels", content, 1e-4, 10)
    if len(levels) != 2:
        raise BundleError(f"noise_levels is {list(levels)}; [lowest, highest] of training is needed")
    return levels


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
