"""The module's own test, as *Reload and Test* runs it in Slicer, with the real worker and the shipped model."""

from __future__ import annotations

pytest_plugins = ["Testing.slicer.fixtures"]


def test_the_modules_own_test_passes(panel, application):
    import slicer

    slicer.selfTests["MAPDiff"]()
    assert application.dialogs.shown == []
