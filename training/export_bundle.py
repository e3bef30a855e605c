"""A training run -> a model bundle: weights, calibration, fitted weights, and what it was trained on."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from MAPDiffLib.bundle import load_bundle, save_bundle
from MAPDiffLib.doses import ANCHOR_DOSES
from MAPDiffLib.intensity import BODY_MEAN_SUV
from MAPDiffLib.network import DenoisingUNet
from MAPDiffLib.plan import is_above
from MAPDiffLib.weights import pack, unpack
from training.casefile import read_facts
from training.config import TrainConfig
from training.datasets import check_doses
from training.fit import fit_uncertainty, fit_weights, measure, widest_noise
from training.train import load_run
from training.unlike import fits_that_hold
from training.variety import COARSEST_ZOOM, FINEST_ZOOM

SIMULATED = "simulated (training/simulate); no patient data"
SAMPLES = 4


def export_bundle(
    run: Path,
    calibration: Path,
    validation: list[Path],
    training_cases: list[Path],
    folder: Path,
    description: str,
    unlike: Sequence[Path] = (),
) -> Path:
    """Fit on the validation cases and write the bundle into `folder` (its name is the bundle's); returns the folder.

    unlike: validation cases of scanners unlike those of training, where an anchor must help too to keep its share.
    A run trained at the noisiest timestep alone is a one-pass regression and becomes a bundle with full dose as its
    only anchor. InputError, before anything is fitted, for a case that lacks a dose.
    """
    network, config = load_run(run)
    lowest = min(config.input_doses)
    check_doses([*validation, *unlike], {*config.input_doses, *(dose for dose in ANCHOR_DOSES if dose > lowest)})
    weights = pack(network.state_dict())
    network.load_state_dict(unpack(weights))  # fitted as it will be used
    path = _one_pass_path(config) if config.end_share == 1.0 else _anchored_path(config)
    sampling = _fit(network, config, validation, path)
    finest, coarsest = (FINEST_ZOOM, COARSEST_ZOOM) if config.zoomed else (1.0, 1.0)
    spacings = [s for case in training_cases for s in read_facts(case)["spacing_mm"]]
    fields = {
        "name": folder.name,
        "description": description,
        "diffusion": dataclasses.asdict(config.diffusion),
        "anchors": [dataclasses.asdict(a) for a in config.anchors if a.dose in path.values()],
        "sampling": sampling,
        "input_doses": sorted(config.input_doses),
        "spacing_range_mm": [round(min(spacings) / finest, 2), round(max(spacings) / coarsest, 2)],
        "intensity": {"transform": "log1p", "body_mean": BODY_MEAN_SUV},
        "dose_estimate": json.loads(calibration.read_text())["dose_estimate"],
        "training_data": {
            "kind": "; ".join(sorted({read_facts(case).get("kind", SIMULATED) for case in training_cases})),
            "cases": len(training_cases),
            "validation_cases": len(validation),
            "unlike_cases": len(unlike),
            "config": json.loads(config.to_json()),
        },
        "scores": {},
        "licence": "Apache-2.0",
    }
    if unlike:
        with TemporaryDirectory() as temporary:
            fitted = load_bundle(save_bundle(Path(temporary) / folder.name, config.network, weights, fields))
        fields["sampling"] = sampling | {"fits": fits_that_hold(fitted, unlike)}
    return save_bundle(folder, config.network, weights, fields)


def _anchored_path(config: TrainConfig) -> dict[int, float | None]:
    """{timestep: dose ready after it}: pure noise, each anchor's tau, and half the last tau for full dose."""
    taus = [anchor.tau for anchor in config.anchors[:-1]]
    stops = dict(zip(taus, ANCHOR_DOSES, strict=False))
    return {config.diffusion.timesteps - 1: None, **stops, max(1, taus[-1] // 2): 1.0}


def _one_pass_path(config: TrainConfig) -> dict[int, float | None]:
    return {config.diffusion.timesteps - 1: 1.0}


def _fit(network: DenoisingUNet, config: TrainConfig, validation: list[Path], path: dict) -> dict:
    """bundle.json's sampling: for every input dose trained for, on the path that a restoration of it takes."""
    fits = []
    for input_dose in sorted(config.input_doses):
        taken = {t: dose for t, dose in path.items() if dose is None or is_above(dose, input_dose)}
        timesteps, anchors = list(taken), {t: dose for t, dose in taken.items() if dose}
        cases = [measure(network, config.diffusion, case, input_dose, timesteps, SAMPLES) for case in validation]
        combine = fit_weights(cases, input_dose, timesteps, anchors)
        scale = fit_uncertainty(cases, combine["1"]["estimate"])
        fit = {"input_dose": input_dose, "combine": combine, "uncertainty_scale": scale}
        fits.append(fit | widest_noise(validation, input_dose))
    return {"timesteps": list(path), "samples": SAMPLES, "fits": fits}


def record_scores(folder: Path, table: dict, method: str) -> None:
    """Copy the figures of one method of a table (training/table) into the scores of its bundle."""
    path = folder / "bundle.json"
    manifest = json.loads(path.read_text())
    means = {scanner: {dose: m[method] for dose, m in doses.items()} for scanner, doses in table["means"].items()}
    manifest["scores"] = {"version": table["version"], "facts": table["facts"], "means": means}
    path.write_text(json.dumps(manifest, indent=2) + "\n")
    load_bundle(folder)  # the check of what was just written
