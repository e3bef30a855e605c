"""MAPDiffLib: restores low-dose PET volumes with multi-anchor guided diffusion. Research use only."""

from __future__ import annotations

import importlib

__version__ = "0.1.0"

# What a script needs, each loaded when it is first asked for: importing the package alone costs the standard library.
_PLACES = {
    "read_volume": "scan.volume",
    "write_volume": "scan.volume",
    "load_bundle": "model.bundle",
    "restore": "restoration.restore",
    "RestoreOptions": "job",
    "region_statistics": "report.region_statistics",
}
__all__ = [*_PLACES, "__version__"]


def __getattr__(name: str):
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
