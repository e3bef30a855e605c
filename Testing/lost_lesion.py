"""A body of two halves with a hot lesion, noise like a scan's, and z of a scan against what was restored from it."""

import numpy as np
import torch
from scipy import ndimage

from MAPDiffLib.restoration.consistency import Consistency

SPACING = (4.0, 4.0, 4.0)
LESION = (28, 24, 30)  # z, y, x


def body_of(shape=(56, 48, 48)):
    body = np.zeros(shape, bool)
    body[4:-4, 5:-5, 5:-5] = True
    return body


def correlated_noise(shape, seed=0):
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 0.8)
    return (noise / noise.std()).astype(np.float32)


def truth_of(body, lesion=0.0):
    """Two halves of different activity, and a ball of 12 mm that is so much hotter than its surroundings."""
    voxels = np.where(body, 1.0, 0.0).astype(np.float32)
    voxels[:, :, 24:] *= 3
    z, y, x = np.indices(body.shape)
    near = (z - LESION[0]) ** 2 + (y - LESION[1]) ** 2 + (x - LESION[2]) ** 2 <= 1.5**2
    voxels[near] += lesion
    return voxels


def tensors(*arrays):
    return [torch.from_numpy(np.ascontiguousarray(array)) for array in arrays]


def z_of(scan, restored, body, image=None):
    scan, restored, body, image = tensors(scan, restored, body, restored if image is None else image)
    return Consistency(scan, restored, body, SPACING).z(image).numpy()
