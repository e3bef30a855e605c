"""What a baseline's training is: one frozen dataclass, saved beside its checkpoint and its weights."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field

from MAPDiffLib.errors import InputError
from training.cases.augmentation import Variety
from training.config import TrainConfig
from training.settings import from_values

WIDTHS = {"unet": 24, "gan": 24, "swinunetr": 12}  # 3.2, 3.2 and 4.1 million parameters
STRIDES = {"unet": 16, "swinunetr": 32, "gan": 16}  # four halvings; the transformer has five
# Smaller ones leave the discriminator no voxel to judge and the transformer's instance normalisation nothing to norm.
SMALLEST_PATCH = {"unet": 16, "swinunetr": 64, "gan": 32}


def _our_doses() -> dict[float, float]:
    """The mixture of input doses that our own models are trained on."""
    return TrainConfig().input_doses


@dataclass(frozen=True)
class BaselineConfig:
    """Every choice of a baseline's training. InputError when they do not fit together.

    width: channels at full resolution, which set the size of the network (the transformer's are multiples of 12).
    adversarial: weight of the GAN's adversarial term beside L1 (pix2pix, arXiv 1611.07004: 1 to 100).
    """

    name: str = "unet"
    width: int | None = None
    adversarial: float = 0.01
    input_doses: dict[float, float] = field(default_factory=_our_doses)
    variety: Variety = field(default_factory=Variety)  # how patches differ from the cases: as for our own models
    patch: int = 64
    batch: int = 8
    iterations: int = 2000
    learning_rate: float = 5e-4
    warmup: int = 100
    ema_decay: float = 0.998
    gradient_clip: float = 1.0
    checkpoint_every: int = 500
    seed: int = 0

    def __post_init__(self):
        if self.name not in STRIDES:
            raise InputError(f"the baseline's name is {self.name!r}; one of {', '.join(STRIDES)} is needed")
        if self.patch < SMALLEST_PATCH[self.name] or self.patch % self.stride:
            least = SMALLEST_PATCH[self.name]
            raise InputError(f"patch is {self.patch}; {self.name} needs a multiple of {self.stride}, {least} at least")
        if min(self.batch, self.iterations, self.checkpoint_every) < 1:
            raise InputError("batch, iterations and checkpoint_every must be at least 1")

    @property
    def stride(self) -> int:
        """Edge lengths must be multiples of this many voxels."""
        return STRIDES[self.name]

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels as our own network counts them, whose first level holds 2 x 2 x 2 voxels: the memory of a tile."""
        return (8 * (self.width or WIDTHS[self.name]),)

    @property
    def reach(self) -> int:
        """Halo of the tiles in voxels; these networks see farther, but hardly look there."""
        return 32

    @property
    def voxels_seen(self) -> int:
        """Voxels of all patches of the whole training: what is kept equal between baselines."""
        return self.iterations * self.batch * self.patch**3

    def to_json(self) -> str:
        """All settings, as JSON."""
        return json.dumps(dataclasses.asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> BaselineConfig:
        """The inverse of `to_json`. InputError for names that do not exist."""
        return from_values(cls, json.loads(text), "baseline's config")
