"""The methods of the table: each a function (low-dose Volume, its dose) -> {dose: voxels}, all on the same footing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage

from MAPDiffLib.bodybox import BodyBox
from MAPDiffLib.bundle import Bundle
from MAPDiffLib.doses import ANCHOR_DOSES, mix
from MAPDiffLib.guard import guard_activity
from MAPDiffLib.intensity import Intensity
from MAPDiffLib.network import DenoisingUNet
from MAPDiffLib.restore import RestoreOptions, restore
from MAPDiffLib.sampling import sample_means
from MAPDiffLib.tiles import TiledNetwork
from MAPDiffLib.volume import Volume, body_mask
from training.config import load_config
from training.train import CHECKPOINT, CONFIG, averaged_weights

Method = Callable[[Volume, float], dict[float, np.ndarray]]
GAUSSIAN_WIDTHS_MM = (4.0, 6.0, 8.0, 10.0, 12.0)


def unprocessed(volume: Volume, dose: float) -> dict[float, np.ndarray]:
    """The input itself, standing in for every dose."""
    return {d: volume.voxels for d in ANCHOR_DOSES if d > dose}


def gaussian(width_mm: float) -> Method:
    """A Gaussian filter of this FWHM."""

    def method(volume: Volume, dose: float) -> dict[float, np.ndarray]:
        sigma = [width_mm / 2.3548 / spacing for spacing in reversed(volume.spacing_mm)]
        return with_mixes(volume, dose, ndimage.gaussian_filter(volume.voxels, sigma))

    return method


def load_run(folder: Path) -> tuple[DenoisingUNet, object]:
    """The averaged network of a training run and its configuration."""
    config = load_config(str(folder / CONFIG))
    network = DenoisingUNet(config.network)
    network.load_state_dict(averaged_weights(folder / CHECKPOINT))
    return network.eval(), config


def one_pass(folder: Path, passes: int) -> Method:
    """The control of controls: the same network trained as one-pass regression, averaged over mirrored passes."""
    network, config = load_run(folder)

    def method(volume: Volume, dose: float) -> dict[float, np.ndarray]:
        body = body_mask(volume.voxels, volume.spacing_mm)
        intensity = Intensity.of_scan(volume.voxels, body)
        box = BodyBox.around(body, network.config.stride)
        tiled = TiledNetwork(network, box.cut(body), torch.device("cpu"))
        last = [config.diffusion.timesteps - 1]
        (evaluation,) = sample_means(
            tiled, config.diffusion, box.cut(volume.voxels), intensity, dose, last, passes, seed=0
        )
        inside, scan = body[box.slices], volume.voxels[box.slices]
        guarded, _ = guard_activity(box.trim(evaluation.mean), scan, inside, volume.spacing_mm)
        full = volume.voxels.copy()
        full[box.slices][inside] = guarded[inside]
        return with_mixes(volume, dose, full)

    return method


def mapdiff(bundle: Bundle, **options) -> Method:
    """A bundle as a user runs it."""

    def method(volume: Volume, dose: float) -> dict[float, np.ndarray]:
        steps = restore(volume, bundle, RestoreOptions(input_dose=dose, **options))
        return {restored.dose: restored.volume.voxels for restored in steps}

    return method


def with_mixes(volume: Volume, dose: float, full: np.ndarray) -> dict[float, np.ndarray]:
    """A full-dose image and the closed-form mix for every dose before it."""
    return {d: mix(volume.voxels, full, dose, d) for d in ANCHOR_DOSES if d > dose}
