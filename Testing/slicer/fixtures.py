"""Fixtures of the panel's tests, beside `application`: a plugin that each test file names in `pytest_plugins`."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def bundles(tmp_path_factory):
    """A folder of model bundles that holds one, the tiny one."""
    from Testing import tiny

    folder = tmp_path_factory.mktemp("bundles")
    tiny.tiny_bundle(folder / "tiny")
    return folder


@pytest.fixture
def panel(application, monkeypatch, bundles):
    """The opened panel with an oblique scan in SUV and the tiny model chosen; a run that is left is ended."""
    from Testing.slicer.panel import make_scan, open_panel

    widget = open_panel(application, monkeypatch, bundles)
    widget._parameterNode.inputVolume = make_scan(application.scene)
    yield widget
    widget.onAboutToQuit()
