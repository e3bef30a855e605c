"""What a training run is: one frozen dataclass, read from configs/*.json, saved beside every checkpoint.

A config names another one as its "base" and says only what differs from it; without one, from the defaults here.
"""

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
from training.cases.patches import LESION_WEIGHT
from training.settings import from_values, merged

CONFIGS = Path(__file__).parent / "configs"
# What an item is trained on, and the settings of that mode alone.
# regression: the noisiest timestep, T-1, where the state is pure noise: what a restoration asks.
# path: T-1 too, and a share of the items goes on from there down the sampler's own path, one stop in each anchor's
#       interval, on the states that a restoration in several steps will meet.
# noised: the full-dose scan noised to a random timestep, as in the paper.
MODES = {"regression": (), "path": ("path_share",), "noised": ("end_share", "low_timesteps")}


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
    mode: str = "regression"  # one of MODES
    path_share: float = 0.25  # of the items: those that go down the path
    end_share: float = 0.0  # of the items: those at T-1, which a uniform t hardly ever draws
    low_timesteps: int = 1000  # the others' timesteps are uniform on [1, low_timesteps)
    input_doses: dict[float, float] = field(
        default_factory=lambda: {0.01: 0.05, 0.02: 0.15, 0.05: 0.55, 0.1: 0.15, 0.25: 0.1}
    )
    variety: Variety = field(default_factory=Variety)  # how patches differ from the cases they are cut from
    lesion_weight: float = LESION_WEIGHT  # of a voxel in a lesion, over that of its surroundings
    # Beginnings of the names of the tensors that are trained (none: all). The rest stay as they started, to the bit, so
    # that a repository keeps little more than what changed of a model that goes on from another.
    trained: tuple[str, ...] = ()
    patch: int = 48
    batch: int = 4
    iterations: int = 2000
    learning_rate: float = 1e-3
    warmup: int = 100
    ema_decay: float = 0.998
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
        self._check_mode()

    def _check_mode(self) -> None:
        if self.mode not in MODES:
            raise InputError(f"mode is {self.mode!r}; one of {', '.join(MODES)} is needed")
        if not 0 < self.path_share <= 1:
            raise InputError(f"path_share is {self.path_share}; above 0 and at most 1 is needed")
        if not 0 <= self.end_share <= 1:
            raise InputError(f"end_share is {self.end_share}; 0 to 1 is needed")
        if self.mode == "noised" and not 2 <= self.low_timesteps <= self.diffusion.timesteps:
            raise InputError(f"low_timesteps is {self.low_timesteps}; 2 to {self.diffusion.timesteps} are needed")
        for mode, names in MODES.items():
            for name in names:
                value = getattr(self, name)
                if mode != self.mode and value != getattr(TrainConfig, name):
                    raise InputError(f"{name} is {value}, a setting of mode {mode}; mode is {self.mode}: choose one")

    @property
    def anchors(self) -> tuple[Anchor, ...]:
        """The anchor doses with their timesteps, ascending dose."""
        return tuple(Anchor(dose, tau) for dose, tau in zip(ANCHOR_DOSES, self.taus, strict=True))

    def to_json(self) -> str:
        """All settings, as JSON."""
        return json.dumps(dataclasses.asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> TrainConfig:
        """The inverse of `to_json`; what is not said keeps its default. InputError for names that do not exist."""
        return from_values(cls, json.loads(text), "training config")


def load_config(name_or_path: str, **changes) -> TrainConfig:
    """A config by its name in training/configs or by path, with changes; of nested settings only those that change."""
    path = _found(name_or_path, Path())
    return from_values(TrainConfig, merged(TrainConfig, _values(path, ()), changes), str(path))


def _values(path: Path, above: tuple[Path, ...]) -> dict[str, object]:
    """What a config and its bases say, the nearest having the last word; `above`: those that name it as their base."""
    if path in above:
        raise InputError(f"{path}: is its own base, by way of {', '.join(each.name for each in above)}")
    try:
        own = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: no JSON: {error}") from None
    own = {"name": path.stem} | own
    base = own.pop("base", None)
    return own if base is None else merged(TrainConfig, _values(_found(base, path.parent), (*above, path)), own)


def _found(name_or_path: str, folder: Path) -> Path:
    """A name is one of training/configs, a path (it has a suffix) is seen from `folder`. InputError for none."""
    path = folder / name_or_path if Path(name_or_path).suffix else CONFIGS / f"{name_or_path}.json"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in CONFIGS.glob("*.json")))
        raise InputError(f"{path}: no such training config; known ones: {known}")
    return path.resolve()
