"""bundle.json: what it must say, and the check of each part. A refusal names the file, what it says and the rule."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import fields
from itertools import pairwise
from pathlib import Path

from MAPDiffLib.errors import BundleError
from MAPDiffLib.model.diffusion import Diffusion
from MAPDiffLib.model.network import NetworkConfig

FORMAT_VERSION = 4
MANIFEST_FILE = "bundle.json"
MANIFEST_LIMIT_BYTES = 1_000_000
KEYS = {
    *("format_version", "name", "description", "licence", "weights_sha256", "network", "diffusion", "anchors"),
    *("sampling", "input_doses", "spacing_range_mm", "intensity", "dose_estimate", "training_data", "scores"),
}
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")  # never a path: no separator, no leading dot


def read_manifest(path: Path) -> dict:
    """The checked content of a bundle.json. BundleError names the file, what is wrong and what to do."""
    try:
        if path.stat().st_size > MANIFEST_LIMIT_BYTES:
            raise BundleError(f"{path} has {path.stat().st_size} bytes; at most {MANIFEST_LIMIT_BYTES} are read")
        manifest = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except OSError as error:
        raise BundleError(f"{path} cannot be read ({error.strerror}); a bundle folder holds this file") from error
    except (ValueError, RecursionError) as error:
        if isinstance(error, BundleError):
            raise
        raise BundleError(f"{path} is not JSON ({error}); copy the bundle again") from error
    check_manifest(manifest, path)
    return manifest


def check_manifest(manifest: dict, path: Path) -> None:
    """BundleError unless every key is there, known, of its type and in its range; `path` is named in the error."""
    try:
        _check(manifest)
    except BundleError as error:
        raise BundleError(f"{path}: {error}") from None


def network_config(manifest: Mapping) -> NetworkConfig:
    """The NetworkConfig of a manifest, bounded before anything is built. BundleError for any doubt."""
    config = _mapping(manifest, "network")
    defaults = {field.name: field.default for field in fields(NetworkConfig)}
    _check_keys("network", config, set(defaults))
    for name, value in config.items():
        kind = type(defaults[name])
        if type(value) not in {tuple: (list, tuple), float: (int, float)}.get(kind, (kind,)):
            raise BundleError(f"network.{name} is {value!r}; something like {defaults[name]!r} is needed")
    return _made("network", NetworkConfig, config)


def _check(manifest: object) -> None:
    if not isinstance(manifest, dict):
        raise BundleError(f"holds {type(manifest).__name__}; one JSON object is needed")
    _check_version(manifest.get("format_version"))
    _check_keys("the manifest", manifest, KEYS)
    if not NAME.fullmatch(_text(manifest, "name")):
        raise BundleError(f"name is {manifest['name']!r}; letters, digits, '.', '_' and '-' are needed")
    for key in ("description", "licence"):
        _text(manifest, key)
    if not re.fullmatch(r"[0-9a-f]{64}", _text(manifest, "weights_sha256")):
        raise BundleError(f"weights_sha256 is {manifest['weights_sha256']!r}; 64 hexadecimal digits are needed")
    for key in ("training_data", "scores"):
        _mapping(manifest, key)
    network_config(manifest)
    timesteps = _diffusion(manifest).timesteps
    _check_anchors(manifest["anchors"], timesteps)
    _check_sampling(_mapping(manifest, "sampling"), timesteps)
    _check_stops(manifest["anchors"], manifest["sampling"]["timesteps"])
    _check_dose_estimate(_mapping(manifest, "dose_estimate"))
    _check_intensity(_mapping(manifest, "intensity"))
    _rising("input_doses", manifest["input_doses"], 0.001, 1)
    low_high = _numbers("spacing_range_mm", manifest["spacing_range_mm"], 0.1, 50)
    if len(low_high) != 2 or low_high[0] > low_high[1]:
        raise BundleError(f"spacing_range_mm is {low_high}; [smallest, largest] is needed")


def _check_version(version: object) -> None:
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise BundleError(f"format_version is {version!r}; {FORMAT_VERSION} is needed")
    if version != FORMAT_VERSION:
        advice = "export its run again" if version < FORMAT_VERSION else "update MAPDiff"
        raise BundleError(f"format_version is {version}, this MAPDiff reads {FORMAT_VERSION}; {advice}")


def _diffusion(manifest: Mapping) -> Diffusion:
    config = _mapping(manifest, "diffusion")
    _check_keys("diffusion", config, {"timesteps", "schedule", "prediction"})
    _whole("diffusion.timesteps", config["timesteps"], 2, 100_000)
    return _made("diffusion", Diffusion, config)


def _check_anchors(anchors: object, timesteps: int) -> None:
    if not isinstance(anchors, list) or not 1 <= len(anchors) <= 50:
        raise BundleError(f"anchors is {anchors!r}; a list of 1 to 50 is needed")
    for index, anchor in enumerate(anchors):
        if not isinstance(anchor, dict):
            raise BundleError(f'anchors[{index}] is {anchor!r}; {{"dose": ..., "tau": ...}} is needed')
        _check_keys(f"anchors[{index}]", anchor, {"dose", "tau"})
        _whole(f"anchors[{index}].tau", anchor["tau"], 0, timesteps - 1)
    doses = _rising("the anchors' doses", [anchor["dose"] for anchor in anchors], 0.001, 1)
    if doses[-1] != 1:
        raise BundleError(f"the last anchor's dose is {doses[-1]:g}; 1 (full dose) is needed")
    taus = [anchor["tau"] for anchor in anchors]
    if any(late >= early for early, late in pairwise(taus)):
        raise BundleError(f"the anchors' tau are {taus}; they must fall as the dose rises")


def _check_sampling(sampling: Mapping, timesteps: int) -> None:
    _check_keys("sampling", sampling, {"timesteps", "fits"})
    steps, fits = sampling["timesteps"], sampling["fits"]
    if not isinstance(steps, list) or not 1 <= len(steps) <= 1000:
        raise BundleError(f"sampling.timesteps is {steps!r}; a list of 1 to 1000 whole numbers is needed")
    for step in steps:
        _whole("sampling.timesteps", step, 0, timesteps - 1)
    if any(late >= early for early, late in pairwise(steps)):
        raise BundleError(f"sampling.timesteps are {steps}; they must fall strictly")
    if not isinstance(fits, list) or not 1 <= len(fits) <= 50:
        raise BundleError(f"sampling.fits is {fits!r}; a list of 1 to 50 is needed")
    for index, fit in enumerate(fits):
        _check_fit(f"sampling.fits[{index}]", fit, [str(step) for step in steps])
    _rising("the input doses of sampling.fits", [fit["input_dose"] for fit in fits], 0.001, 1)


def _check_fit(what: str, fit: object, steps: list[str]) -> None:
    """What validation cases of one input dose decided: samples, weights per dose (those of full dose name the stops of
    the path), the uncertainty's scale, the widest noise."""
    if not isinstance(fit, dict):
        raise BundleError(f"{what} is {fit!r}; an object is needed")
    _check_keys(what, fit, {"input_dose", "samples", "combine", "uncertainty_scale"}, {"noise_voxels", "wide_noise"})
    _whole(f"{what}.samples", fit["samples"], 1, 64)
    for dose, weights in _mapping(fit, "combine").items():
        _check_weights(f"{what}.combine[{dose!r}]", weights)
    stops = set(fit["combine"].get("1", {}).get("estimate", {}))
    if stops and not {steps[0], steps[-1]} <= stops <= set(steps):
        raise BundleError(
            f"{what} weighs the timesteps {sorted(stops)} in full dose; some of sampling.timesteps {steps} are needed,"
            " the first and the last among them"
        )
    _number(f"{what}.uncertainty_scale", fit["uncertainty_scale"], 1e-6, 1e6)
    if "noise_voxels" in fit and len(_numbers(f"{what}.noise_voxels", fit["noise_voxels"], 0.01, 50)) != 2:
        raise BundleError(f"{what}.noise_voxels is {fit['noise_voxels']}; [axial, in plane] is needed")
    if "wide_noise" in fit:
        wide = _mapping(fit, "wide_noise")
        _check_keys(f"{what}.wide_noise", wide, {"mm3", "power"})
        _number(f"{what}.wide_noise.mm3", wide["mm3"], 0.01, 1e6)
        _number(f"{what}.wide_noise.power", wide["power"], 0, 5)


def _check_weights(what: str, weights: object) -> None:
    """{"estimate": {timestep: weight}, "anchored": share}, both optional."""
    if not isinstance(weights, dict):
        raise BundleError(f"{what} is {weights!r}; an object is needed")
    _number(f"{what}.anchored", weights.get("anchored", 0), -2, 2)
    estimate = weights.get("estimate", {})
    if not isinstance(estimate, dict):
        raise BundleError(f"{what}.estimate is {estimate!r}; an object is needed")
    for step, weight in estimate.items():
        _number(f"{what}.estimate[{step!r}]", weight, -10, 10)


def _check_stops(anchors: list, steps: list) -> None:
    """The sampling path stops at every anchor's tau; full dose is what its last evaluation gives."""
    missing = [anchor["tau"] for anchor in anchors[:-1] if anchor["tau"] not in steps[:-1]]
    if missing:
        raise BundleError(f"the anchors' tau {missing} are not among sampling.timesteps {steps} before the last")


def _check_dose_estimate(curve: Mapping) -> None:
    """Empty, or noise that falls while the dose rises."""
    if not curve:
        return
    _check_keys("dose_estimate", curve, {"doses", "noise", "scatter"}, set(curve))
    doses = _rising("dose_estimate.doses", curve["doses"], 0.0001, 1)
    noise = curve["noise"]
    if not isinstance(noise, list) or len(noise) != len(doses):
        raise BundleError(f"dose_estimate.noise is {noise!r}; one number for each of its {len(doses)} doses is needed")
    _rising("dose_estimate.noise (from its end)", noise[::-1], 1e-6, 100)
    _number("dose_estimate.scatter", curve["scatter"], 0, 10)


def _check_intensity(intensity: Mapping) -> None:
    _check_keys("intensity", intensity, {"transform", "body_mean"})
    if intensity["transform"] != "log1p":
        raise BundleError(f"intensity.transform is {intensity['transform']!r}; 'log1p' is needed")
    _number("intensity.body_mean", intensity["body_mean"], 1e-3, 1e3)


def _check_keys(what: str, content: Mapping, needed: set[str], optional: set[str] = frozenset()) -> None:
    if missing := sorted(needed - set(content)):
        raise BundleError(f"{what} lacks {missing}")
    if unknown := sorted(set(content) - needed - optional):
        raise BundleError(f"{what} has unknown keys {unknown}; known are {sorted(needed | optional)}")


def _made(what: str, kind: type, config: Mapping):
    try:
        return kind(**config)
    except (TypeError, ValueError) as error:
        raise BundleError(f"{what}: {error}") from error


def _mapping(content: Mapping, key: str) -> Mapping:
    if not isinstance(content.get(key), dict):
        raise BundleError(f"{key} is {content.get(key)!r}; an object is needed")
    return content[key]


def _text(content: Mapping, key: str) -> str:
    if not isinstance(content[key], str) or not content[key].strip():
        raise BundleError(f"{key} is {content[key]!r}; a text is needed")
    return content[key]


def _whole(what: str, value: object, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise BundleError(f"{what} is {value!r}; a whole number from {low} to {high} is needed")


def _number(what: str, value: object, low: float, high: float) -> None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not low <= value <= high:  # nan is in no range
        raise BundleError(f"{what} is {value!r}; a number from {low:g} to {high:g} is needed")


def _rising(what: str, values: object, low: float, high: float) -> list:
    if any(a >= b for a, b in pairwise(_numbers(what, values, low, high))):
        raise BundleError(f"{what} are {values}; they must rise")
    return values


def _numbers(what: str, values: object, low: float, high: float) -> list:
    if not isinstance(values, list) or not 1 <= len(values) <= 100:
        raise BundleError(f"{what} is {values!r}; a list of 1 to 100 numbers is needed")
    for value in values:
        _number(what, value, low, high)
    return values


def _refuse_constant(text: str):
    raise BundleError(f"bundle.json says {text}; only finite numbers are read")
