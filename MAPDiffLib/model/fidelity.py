"""What validation cases decided about numbers, places and drawn noise: a bundle's, since each model loses and leaves
something else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from MAPDiffLib.model.json_checks import check_keys, number, so_many

DRAWN_PER_MM = (0.02, 0.04, 0.06, 0.085, 0.12)  # where drawn noise is fitted; a line between, held beyond


@dataclass(frozen=True)
class Fidelity:
    """Fitted by `mapdiff-train fidelity --fit`; the defaults are for bundles that say nothing.

    guard_normal, guard_strong: log-odds of a loss (restoration/losses.py) from which activity is put back; place: from
    which a place is to be checked.

    The rest is for the best estimate of a region (restoration/quantify.py) and for drawn scans
    (restoration/dose_scans.py). noise_factor, noise_power: the scan's noise is noise_factor r^-noise_power times what
    was taken away, of r, the noise taken away over the activity: the quieter a scan, the more of its noise is left in.
    bias: of the restored image over a region, as a share of the activity there; tails: by how much an interval is wider
    than a Gaussian's; least_error: of a value, however quiet the scan. drawn_gain, drawn_kept: of the drawn counts'
    variance, and of the scan's in the restored image (over r: the quieter the scan, the more is left in), each at
    DRAWN_PER_MM and in units of what was taken away. drawn_detail: how large the detail is that is drawn for what was
    lost, over what the restored image has.
    """

    guard_normal: float = -2.75
    guard_strong: float = -3.25
    place: float = -1.0
    noise_factor: float = 1.117
    noise_power: float = 0.182
    bias: float = 0.26
    tails: float = 1.45
    least_error: float = 0.015
    drawn_gain: tuple[float, ...] = (0.7913, 1.3112, 1.2883, 1.2186, 1.0)
    drawn_kept: tuple[float, ...] = (0.0406, 0.0028, 0.0038, 0.0033, 0.0033)
    drawn_detail: float = 1.0

    def guard(self, strength: str) -> float | None:
        """The log-odds from which a guard of this strength (job.GUARDS) puts activity back; None for "off"."""
        return {"off": None, "normal": self.guard_normal, "strong": self.guard_strong}[strength]


BOUNDS = {
    **dict.fromkeys(("guard_normal", "guard_strong", "place"), (-20.0, 20.0)),
    "noise_factor": (0.1, 100.0),
    "noise_power": (-1.0, 1.0),
    "bias": (0.001, 10.0),
    "tails": (0.1, 10.0),
    "least_error": (0.0, 1.0),
    "drawn_gain": (0.1, 10.0),
    "drawn_kept": (0.0, 1.0),
    "drawn_detail": (0.0, 2.0),
}


def parse_fidelity(content: Mapping) -> Fidelity:
    """Of the object "fidelity" in bundle.json. BundleError unless every key is there, known and in its range."""
    check_keys("fidelity", content, set(BOUNDS))
    check = {name: _by_frequency if isinstance(getattr(Fidelity, name), tuple) else number for name in BOUNDS}
    return Fidelity(
        **{name: check[name](f"fidelity.{name}", content[name], *limits) for name, limits in BOUNDS.items()}
    )


def _by_frequency(what: str, values: object, low: float, high: float) -> tuple[float, ...]:
    """A number within the bounds for each of DRAWN_PER_MM."""
    return so_many(what, values, len(DRAWN_PER_MM), low, high, ", one for each frequency")
