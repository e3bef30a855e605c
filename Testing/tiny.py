"""The smallest scan, bundle and multi-dose case that things run on; for tests only."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from MAPDiffLib.model.bundle import save_bundle
from MAPDiffLib.model.network import DenoisingUNet, NetworkConfig
from MAPDiffLib.scan.volume import Volume, write_volume
from training.cases.case_file import ALL_DOSES, dose_file
from training.simulate.tissues import Tissue

CONFIG = NetworkConfig(widths=(4, 8), blocks=1, embedding=8)


def manifest_fields() -> dict:
    """What save_bundle asks for: four doses, two evaluations."""
    return {
        "name": "tiny",
        "description": "random weights for tests",
        "licence": "Apache-2.0",
        "diffusion": {"timesteps": 1000, "schedule": "cosine", "prediction": "x0"},
        "anchors": [
            {"dose": 0.1, "tau": 600},
            {"dose": 0.25, "tau": 400},
            {"dose": 0.5, "tau": 200},
            {"dose": 1.0, "tau": 50},
        ],
        "sampling": {
            "samples": 2,
            "strength": 1.0,
            "uncertainty_levels": [0.1, 0.5],
            "uncertainty_scales": [1.0, 1.0],
        },
        "input_doses": [0.02, 0.05, 0.1],
        "noise_levels": [0.01, 1.0],
        "spacing_range_mm": [1.5, 8.5],
        "intensity": {"transform": "log1p", "body_mean": 0.85},
        "dose_estimate": {"doses": [0.01, 0.1, 1.0], "noise": [0.3, 0.1, 0.03], "scatter": 0.1},
        "training_data": {},
        "scores": {},
    }


def tiny_weights() -> dict[str, torch.Tensor]:
    """Random weights, the same every time; shaken, since an untrained network returns the scan itself."""
    torch.manual_seed(0)
    return {name: value + 0.02 * torch.randn_like(value) for name, value in DenoisingUNet(CONFIG).state_dict().items()}


def tiny_bundle(folder: Path) -> Path:
    """A valid bundle with random weights at `folder`."""
    return save_bundle(folder, CONFIG, tiny_weights(), manifest_fields())


def tiny_scan(path: Path, finer: int = 1) -> Path:
    """A warm cylinder of 20 x 20 x 24 voxels of 8 mm with a hot ball and noise, written at `path`.

    finer: so many times as many voxels along each axis, of the same cylinder.
    """
    z, y, x = (np.mgrid[: 24 * finer, : 20 * finer, : 20 * finer] + 0.5) / finer
    voxels = ((y - 10) ** 2 + (x - 10) ** 2 < 64).astype(np.float32)
    voxels[(z - 16) ** 2 + (y - 10) ** 2 + (x - 8) ** 2 < 9] = 4
    voxels *= 1 + 0.15 * np.random.default_rng(0).standard_normal(voxels.shape)
    write_volume(Volume(voxels, (8.0 / finer,) * 3, units="SUVbw"), path)
    return path


def tiny_case(folder: Path, seed: int = 0, doses: tuple[float, ...] = ALL_DOSES, **facts) -> Path:
    """A case folder: a warm box of 36 x 34 x 35 voxels of 4 mm with a hot lesion, noise as 1 / sqrt(dose), nested."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    truth, labels = np.zeros((36, 34, 35), np.float32), np.zeros((36, 34, 35), np.uint8)
    truth[2:34, 2:32, 2:33], labels[2:34, 2:32, 2:33] = 1.0, Tissue.LIVER
    truth[10:18, 8:16, 8:16], labels[10:18, 8:16, 8:16] = 4.0, Tissue.LESION
    noise, before = np.zeros_like(truth), 0.0
    for dose in sorted(doses):  # independent increments: the counts of a low dose are part of every higher one
        noise = noise + 0.05 * np.sqrt(dose - before) * rng.standard_normal(truth.shape)
        before = dose
        voxels = np.maximum(truth * (1 + noise / dose), 0).astype(np.float32)
        write_volume(Volume(voxels, (4.0, 4.0, 4.0), units="SUVbw"), folder / dose_file(dose))
    for name, voxels in (("truth", truth), ("labels", labels.astype(np.float32))):
        write_volume(Volume(voxels, (4.0, 4.0, 4.0)), folder / f"{name}.nii.gz")
    lesion = {"centre": [13, 11, 11], "diameter_mm": 32.0, "suv": 4.0, "host": "liver"}
    known = {"spacing_mm": [4.0, 4.0, 4.0], "doses": sorted(doses), "split": "test", "lesions": [lesion]}
    (folder / "case.json").write_text(json.dumps(known | facts))
    return folder


def write_job_file(path: Path, **content) -> Path:
    """A job.json with any content, also one that must be refused."""
    path.write_text(json.dumps(content), encoding="utf-8")
    return path
