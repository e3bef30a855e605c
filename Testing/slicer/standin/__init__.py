"""A small, strict stand-in of the 3D Slicer application, on real MRML (slicer-core) and PySide6. See ../README.md."""

from __future__ import annotations

import importlib
import importlib.util

from Testing.waiting import PATIENCE_S

PACKAGES = {"slicer_core": "slicer-core", "PySide6": "PySide6-Essentials"}


def missing() -> list[str]:
    """What has to be installed for the stand-in; nothing when it can work."""
    lacking = [package for module, package in PACKAGES.items() if importlib.util.find_spec(module) is None]
    if lacking:
        return lacking
    try:
        importlib.import_module("PySide6.QtWidgets")
    except ImportError as error:
        return [f"a system library of Qt ({error})"]
    return []


def install():
    """Puts qt, ctk and the rest of slicer in place; returns the StandIn that a test works with."""
    from .session import install

    return install()


def remove() -> None:
    """Takes everything away again that install() put in place."""
    from .session import remove

    remove()


def pump(until, timeout: float = PATIENCE_S) -> bool:
    """Runs the event loop until `until()` is true; False when it never was, which `timeout` seconds stand for."""
    from .session import pump

    return pump(until, timeout)


def turns(count: int = 5) -> None:
    """Runs the event loop for some turns: what was left to a later turn (sizes, singleShot 0) has been done."""
    from .session import turns

    turns(count)


def grab(widget, path, size=None) -> None:
    """Renders a widget to a PNG file, in `size` (width, height) or its own."""
    from .session import grab

    grab(widget, path, size)


def slice_pixels(name: str = "Red"):
    """The RGBA picture of a slice view, uint8 [y, x, 4], top row first."""
    import slicer

    from .slice_widgets import slice_picture

    return slice_picture(slicer.app.layoutManager().sliceWidget(name).sliceLogic())


def check_ui(path) -> list[str]:
    """What a .ui file has that the real widgets have not, a sentence each."""
    from .ui_file import check_ui

    return check_ui(path)
