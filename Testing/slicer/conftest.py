"""The fixture of the panel's tests. Nothing here or in standin/__init__.py imports slicer-core or PySide6 by itself."""

from __future__ import annotations

import pytest

from . import standin


@pytest.fixture(scope="session")
def installed():
    """What the stand-in of Slicer needs is installed; skips by name what is not."""
    if standin.missing():
        pytest.skip(f"not installed: {', '.join(standin.missing())}")


@pytest.fixture
def application(installed):
    """The stand-in of Slicer, with a fresh scene."""
    placed = standin.install()
    try:
        yield placed
        errors, unused = list(placed.errors), placed.dialogs.unused
    finally:
        standin.remove()
    assert not errors, "slots or observers raised:\n" + "\n".join(errors)
    assert not unused, f"answers that no dialog asked for: {unused}"


@pytest.fixture(scope="module")
def placed(installed):
    """The stand-in itself, one for all tests of a file: for questions that leave nothing behind."""
    yield standin.install()
    standin.remove()
