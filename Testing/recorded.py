"""Recorded data that tests use where it is at hand; the repository does not hold it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

PLACES = (os.environ.get("MAPDIFF_TEST_DATA"), Path(__file__).resolve().parents[2] / "shared" / "data")


def recorded_data(name: str) -> Path | None:
    """The folder `name` in MAPDIFF_TEST_DATA or, beside the checkout, in shared/data; None where neither has it."""
    return next(filter(Path.is_dir, (Path(place) / name for place in PLACES if place)), None)


def real_series() -> Path:
    """The DICOM folder of a real FDG PET scan; skips the test where it is not here."""
    if not (folder := recorded_data("sts_001_fdg_pet")):
        pytest.skip("the series sts_001_fdg_pet is not here (its parent folder goes in MAPDIFF_TEST_DATA)")
    return folder
