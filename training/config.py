"""What a training run is: one frozen dataclass, read from configs/*.json, saved beside every checkpoint."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path

from MAPDiffLib.errors import InputError
from MAPDiffLib.model.diffusion import Diffusion
from MAPDiffLib.model.manifest import Anchor
from MAPDiffLib.model.network import NetworkConfig
from MAPDiffLib.restoration.doses import ANCHOR_DOSES
from training.cases.augmentation import Variety

CONFIGS = Path(__file__).parent / "configs"


@dataclass(frozen=True)
class TrainConfig:
    """Every choice of a training run. InputError when they do not fit together."""

    name: str = "mapdiff-base"
    network: NetworkConfig = field(default_factory=NetworkConfig)
    diffusion: Diffusion = field(default_factory=Diffusion)
    taus: tuple[int, ...] = (200, 120, 70, 0)  # per anchor dose 1/10, 1/4, 1/2, full; from training/export/calibrate.py
    anchored_doses: tuple[float, ...] = ANCHOR_DOSES  # the anchors that supervise; the others' timesteps do without
    error: str = "absolute"  # or "squares", as in the paper: what the loss makes of a difference
    anchor_lambda: float = 1.0
    power: float = 2.0
    # 0: the paper's training, on full-dose scans noised to a random t. Else every item is trained at t = T-1 (pure
    # noise: a one-pass regression, which starves when t is uniform), and this share of them goes on down the sampler's
    # own path, one stop in each anchor's interval, on the states that a restoration will meet.
    path_share: float = 0.0
    # Without a path: this share of the items is trained at t = T-1, the rest uniformly on [1, low_timesteps].
    end_share: float = 0.5
    low_timesteps: int = 1000
    input_doses: dict[float, float] = field(
        default_factory=lambda: {0.01: 0.05, 0.02: 0.15, 0.05: 0.55, 0.1: 0.15, 0.25: 0.1}
    )
    # Shares of the patches on other voxels, of doses between two input doses and through a further post-filter
    # (training/cases/augmentation.py).
    zoomed: float = 0.25
    between: float = 0.5
    filtered: float = 0.5
    # Beginnings of the names of the tensors that are trained (none: all). The rest stay as they started, to the bit, so
    # that a repository keeps little more than what changed of a model that goes on from another.
    trained: tuple[str, ...] = ()
    patch: int = 48
    batch: int = 4
    iterations: int = 2000
    learning_rate: float = 1e-3
    warmup: int = 100
    ema_decay: float = 0.998
    rounded: bool = False  # losses and gradients are those of the weights as a bundle rounds them
    gradient_clip: float = 1.0
    precision: str = "auto"  # bf16-mixed on a GPU, else 32-true; or a precision that Lightning Fabric knows
    checkpoint_every: int = 100
    seed: int = 0

    def __post_init__(self):
        if len(self.taus) != len(ANCHOR_DOSES) or any(a <= b for a, b in zip(self.taus, self.taus[1:], strict=False)):
            raise InputError(f"taus are {self.taus}; {len(ANCHOR_DOSES)} strictly falling timesteps are needed")
        strange = set(self.anchored_doses) - set(ANCHOR_DOSES)
        if strange:
            raise InputError(f"anchored_doses has {sorted(strange)}; some of {ANCHOR_DOSES} are needed")
        if self.error not in ("absolute", "squares"):
            raise InputError(f"error is {self.error!r}; absolute or squares is needed")
        if self.patch % self.network.stride:
            raise InputError(f"patch is {self.patch}; a multiple of {self.network.stride} is needed")
        if not 1 <= self.low_timesteps <= self.diffusion.timesteps:
            raise InputError(f"low_timesteps is {self.low_timesteps}; 1 to {self.diffusion.timesteps} are needed")
        if not 0 <= self.path_share <= 1:
            raise InputError(f"path_share is {self.path_share}; 0 to 1 is needed")
        _ = self.variety  # which checks its shares

    @property
    def anchors(self) -> tuple[Anchor, ...]:
        """The anchor doses with their timesteps, ascending dose."""
        return tuple(Anchor(dose, tau) for dose, tau in zip(ANCHOR_DOSES, self.taus, strict=True))

    @property
    def variety(self) -> Variety:
        """How patches differ from the cases they are cut from."""
        return Variety(self.zoomed, self.between, self.filtered)

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str, **changes) -> TrainConfig:
        """Read a config that says only what differs from the defaults. InputError for names that do not exist."""
        values = {**json.loads(text), **changes}
        unknown = set(values) - {f.name for f in dataclasses.fields(cls)}
        if unknown:
            raise InputError(f"training config: {sorted(unknown)} are not settings of a training run")
        if isinstance(values.get("network"), dict):
            values["network"] = NetworkConfig(**values["network"])
        if isinstance(values.get("diffusion"), dict):
            values["diffusion"] = Diffusion(**values["diffusion"])
        for name in ("taus", "anchored_doses", "trained"):
            if name in values:
                values[name] = tuple(values[name])
        if "input_doses" in values:
            values["input_doses"] = {float(dose): share for dose, share in values["input_doses"].items()}
        return cls(**values)


def load_config(name_or_path: str, **changes) -> TrainConfig:
    """A config by its name in training/configs or by path."""
    path = Path(name_or_path)
    if not path.suffix:
        path = CONFIGS / f"{name_or_path}.json"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in CONFIGS.glob("*.json")))
        raise InputError(f"{path}: no such training config; known ones: {known}")
    return TrainConfig.from_json(path.read_text(), **changes)
