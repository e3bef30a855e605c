"""A training run -> a model bundle: weights, calibration, fitted weights, and what it was trained on."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from MAPDiffLib.bundle import save_bundle
from MAPDiffLib.doses import ANCHOR_DOSES
from training.baselines import load_run
from training.fit import fit_uncertainty, fit_weights, measure

SAMPLES = 4
FITTED_DOSE = 0.05  # the input dose whose weights are fitted; other input doses use the same


def export_bundle(
    run: Path, calibration: Path, validation: list[Path], training_cases: list[Path], folder: Path, description: str
) -> Path:
    """Fit on the validation cases and write the bundle into `folder` (its name is the bundle's); returns the folder."""
    network, config = load_run(run)
    taus = [anchor.tau for anchor in config.anchors]
    timesteps = [config.diffusion.timesteps - 1, *taus[:-1], max(1, taus[-2] // 2)]
    anchors = {tau: dose for dose, tau in zip(ANCHOR_DOSES[:-1], taus, strict=False)} | {timesteps[-1]: 1.0}
    cases = [measure(network, config.diffusion, case, FITTED_DOSE, timesteps, SAMPLES) for case in validation]
    combine = fit_weights(cases, FITTED_DOSE, timesteps, anchors)
    spacings = [s for case in training_cases for s in json.loads((case / "case.json").read_text())["spacing_mm"]]
    fields = {
        "name": folder.name,
        "description": description,
        "diffusion": dataclasses.asdict(config.diffusion),
        "anchors": [dataclasses.asdict(anchor) for anchor in config.anchors],
        "sampling": {"timesteps": timesteps, "samples": SAMPLES, "combine": combine},
        "input_doses": sorted(config.input_doses),
        "spacing_range_mm": [round(min(spacings), 2), round(max(spacings), 2)],
        "intensity": {"transform": "log1p", "body_mean": 0.85},
        "dose_estimate": json.loads(calibration.read_text())["dose_estimate"],
        "training_data": {
            "kind": "simulated (training/simulate); no patient data",
            "cases": len(training_cases),
            "iterations": config.iterations,
            "patches_per_iteration": config.batch,
            "patch_edge": config.patch,
            "validation_cases": len(validation),
            "config": json.loads(config.to_json()),
        },
        "scores": {},
        "uncertainty_scale": fit_uncertainty(cases, combine["1"]["estimate"]),
        "licence": "Apache-2.0",
    }
    return save_bundle(folder, config.network, network.state_dict(), fields)


def record_scores(folder: Path, table: Path) -> None:
    """Copy the means of an evaluation (table.json) into the bundle's scores."""
    path = folder / "bundle.json"
    manifest = json.loads(path.read_text())
    manifest["scores"] = json.loads(table.read_text())
    path.write_text(json.dumps(manifest, indent=1) + "\n")



