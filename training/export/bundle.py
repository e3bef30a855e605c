"""A training run -> a model bundle: weights, calibration, fitted weights, and what it was trained on."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from safetensors.torch import load_file

from MAPDiffLib.model.bundle import CARD_FILE, WEIGHTS_FILE, check_is_new, load_bundle, save_bundle
from MAPDiffLib.model.diffusion import Diffusion
from MAPDiffLib.model.manifest import Anchor, fit_to_dict
from MAPDiffLib.model.network import NetworkConfig
from MAPDiffLib.model.quantisation import pack
from MAPDiffLib.restoration.doses import ANCHOR_DOSES
from MAPDiffLib.restoration.intensity import BODY_MEAN_SUV
from training.cases.augmentation import COARSEST_ZOOM, FINEST_ZOOM
from training.cases.case_file import check_doses, read_facts
from training.export.paths import fit_paths
from training.train import load_run

SIMULATED = "simulated (training/simulate); no patient data"


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

    unlike: validation cases of scanners unlike those of training (fit_paths). A run trained at the noisiest timestep
    alone is a one-pass regression and becomes a bundle with full dose as its only anchor. InputError, before anything
    is fitted, for a case that lacks a dose.
    """
    check_is_new(folder)
    network, config = load_run(run)
    _check_cases(config.input_doses, validation, unlike)
    anchors = config.anchors[-1:] if config.end_share == 1.0 else config.anchors
    finest, coarsest = (FINEST_ZOOM, COARSEST_ZOOM) if config.zoomed else (1.0, 1.0)
    spacings = [s for case in training_cases for s in read_facts(case)["spacing_mm"]]
    fields = {
        "description": description,
        "diffusion": dataclasses.asdict(config.diffusion),
        "anchors": [dataclasses.asdict(anchor) for anchor in anchors],
        "sampling": {"timesteps": _timesteps(anchors, config.diffusion)},
        "input_doses": sorted(config.input_doses),
        "spacing_range_mm": [round(min(spacings) / finest, 2), round(max(spacings) / coarsest, 2)],
        "intensity": {"transform": "log1p", "body_mean": BODY_MEAN_SUV},
        "dose_estimate": json.loads(calibration.read_text())["dose_estimate"],
        "training_data": {
            "kind": "; ".join(sorted({read_facts(case).get("kind", SIMULATED) for case in training_cases})),
            "cases": len(training_cases),
            "config": json.loads(config.to_json()),
        },
        "licence": "Apache-2.0",
    }
    return _save_fitted(folder, config.network, pack(network.state_dict()), fields, validation, unlike)


def refit_bundle(bundle: str | Path, validation: list[Path], folder: Path, unlike: Sequence[Path] = ()) -> Path:
    """The bundle of a name or in a folder, its sampling fitted again on these cases, into `folder`; returns that.

    The weights' bytes stay, the scores go: they were of the sampling before. Errors as in export_bundle.
    """
    check_is_new(folder)
    loaded = load_bundle(bundle)
    _check_cases(loaded.manifest.input_doses, validation, unlike)
    weights = load_file(loaded.folder / WEIGHTS_FILE)
    _save_fitted(folder, loaded.network.config, weights, loaded.manifest.to_dict(), validation, unlike)
    if (card := loaded.folder / CARD_FILE).exists():
        shutil.copyfile(card, folder / CARD_FILE)
    return folder


def _check_cases(input_doses: Iterable[float], validation: Sequence[Path], unlike: Sequence[Path]) -> None:
    lowest = min(input_doses)
    check_doses([*validation, *unlike], {*input_doses, *(dose for dose in ANCHOR_DOSES if dose > lowest)})


def _timesteps(anchors: Sequence[Anchor], diffusion: Diffusion) -> list[int]:
    """Where a path may stop: at pure noise, at each anchor's tau, and for full dose at half the last tau."""
    taus = [anchor.tau for anchor in anchors[:-1]]
    return [diffusion.timesteps - 1, *taus, *(max(1, tau // 2) for tau in taus[-1:])]


def _save_fitted(
    folder: Path, network: NetworkConfig, weights: dict, fields: dict, validation: list[Path], unlike: Sequence[Path]
) -> Path:
    """Saves a bundle whose sampling is fitted with the network as it will be used: from the file of its weights."""
    unfitted = {"samples": 1, "ensemble_weights": {}, "uncertainty_scale": 1.0}
    data = fields["training_data"] | {"validation_cases": len(validation), "unlike_cases": len(unlike)}
    fields = fields | {
        "name": folder.name,
        "scores": {},
        "training_data": data,
        "sampling": fields["sampling"] | {"fits": [unfitted | {"input_dose": dose} for dose in fields["input_doses"]]},
    }
    with TemporaryDirectory() as temporary:
        bundle = load_bundle(save_bundle(Path(temporary) / folder.name, network, weights, fields))
        fields["sampling"]["fits"] = [fit_to_dict(fit) for fit in fit_paths(bundle, validation, unlike)]
    return save_bundle(folder, network, weights, fields)
