"""A training run -> a model bundle: weights, calibration, fitted weights, and what it was trained on."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from safetensors.torch import load_file

from MAPDiffLib.model.bundle import CARD_FILE, WEIGHTS_FILE, check_is_new, load_bundle, save_bundle
from MAPDiffLib.model.network import DenoisingUNet, NetworkConfig
from MAPDiffLib.model.quantisation import pack
from MAPDiffLib.restoration.intensity import BODY_MEAN_SUV
from training.cases.augmentation import COARSEST_ZOOM, FILTERS_MM, FINEST_ZOOM
from training.cases.cache import open_caches
from training.cases.case_file import ALL_DOSES, check_doses, read_facts
from training.config import TrainConfig
from training.export.fit import DOSES, STRENGTH_DOSE, fit_sampling
from training.train import load_run

SAMPLES = 5  # one sample's error falls by little more from here on
SIMULATED = "simulated (training/simulate)"


def export_bundle(
    run: Path, calibration: Path, validation: list[Path], training_cases: list[Path], folder: Path, description: str
) -> Path:
    """Fit on the validation cases and write the bundle into `folder` (its name is the bundle's); returns the folder.

    InputError, before anything is fitted, for a case that lacks a dose.
    """
    check_is_new(folder)
    network, config = load_run(run)
    _check_cases(validation)
    finest, coarsest = (FINEST_ZOOM, COARSEST_ZOOM) if config.variety.zoomed else (1.0, 1.0)
    spacings = [s for case in training_cases for s in read_facts(case)["spacing_mm"]]
    fields = {
        "description": description,
        "diffusion": dataclasses.asdict(config.diffusion),
        "anchors": [dataclasses.asdict(anchor) for anchor in config.anchors],
        "sampling": {"samples": SAMPLES},
        "input_doses": sorted(config.input_doses),
        "noise_levels": _noise_levels(training_cases),
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
    return _save_fitted(folder, config.network, pack(network.state_dict()), fields, validation)


def refit_bundle(bundle: str | Path, validation: list[Path], folder: Path) -> Path:
    """The bundle of a name or in a folder, its sampling fitted again on these cases, into `folder`; returns that.

    The weights' bytes stay, the scores go: they were of the sampling before. Errors as in export_bundle.
    """
    check_is_new(folder)
    loaded = load_bundle(bundle)
    _check_cases(validation)
    weights = load_file(loaded.folder / WEIGHTS_FILE)
    _save_fitted(folder, loaded.network.config, weights, loaded.manifest.to_dict(), validation)
    if (card := loaded.folder / CARD_FILE).exists():
        shutil.copyfile(card, folder / CARD_FILE)
    return folder


def bundle_with_weights(bundle: str | Path, network: DenoisingUNet, config: TrainConfig, folder: Path) -> Path:
    """The bundle of a name or in a folder with the weights of a training that began with it, into `folder`.

    Small enough to be carried from where it was trained, and usable; its sampling is still the old weights', so
    `refit` comes next. What stood in `folder` is replaced.
    """
    fields = load_bundle(bundle).manifest.to_dict()
    trained = fields["training_data"] | {"config": json.loads(config.to_json())}
    fields |= {"name": folder.name, "scores": {}, "training_data": trained}
    shutil.rmtree(folder, ignore_errors=True)
    return save_bundle(folder, config.network, pack(network.state_dict()), fields)


def _check_cases(validation: Sequence[Path]) -> None:
    check_doses(validation, {*DOSES, STRENGTH_DOSE, 1.0})


def _noise_levels(cases: Sequence[Path]) -> list[float]:
    """The lowest and the highest level of noise in any scan that training draws from these cases."""
    levels = [cache.noise(number, dose).level for cache in open_caches(cases) for number in range(len(FILTERS_MM))
              for dose in ALL_DOSES]  # fmt: skip
    return [round(float(q), 4) for q in np.quantile(levels, (0.01, 0.99))]


def _save_fitted(folder: Path, network: NetworkConfig, weights: dict, fields: dict, validation: list[Path]) -> Path:
    """Saves a bundle whose sampling is fitted with the network as it will be used: from the file of its weights."""
    unfitted = {"strength": 1.0, "uncertainty_levels": [0.1], "uncertainty_scales": [1.0]}
    fields = fields | {
        "name": folder.name,
        "scores": {},
        "training_data": fields["training_data"] | {"validation_cases": len(validation)},
        "sampling": {"samples": fields["sampling"]["samples"]} | unfitted,
    }
    with TemporaryDirectory() as temporary:
        bundle = load_bundle(save_bundle(Path(temporary) / folder.name, network, weights, fields))
        fields["sampling"] = dataclasses.asdict(fit_sampling(bundle, validation))
    return save_bundle(folder, network, weights, fields)
