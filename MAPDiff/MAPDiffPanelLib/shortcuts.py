"""The keys of the panel, while it is open."""

from __future__ import annotations

from functools import partial

import qt


def addShortcuts(window, results) -> list:
    """`[` and `]` for the previous and next dose, `\\` to hold for the flicker; give the list to `removeShortcuts`.

    results: the panel's ResultSection.
    """
    made, flicker = [], results.flicker.keyPressed
    slots = {"[": partial(results.step, -1), "]": partial(results.step, 1), "\\": flicker}
    for key, slot in slots.items() if window is not None else ():
        action = qt.QAction(window)
        action.setShortcut(qt.QKeySequence(key))
        action.autoRepeat = slot is not flicker  # held, it is one press
        action.connect("triggered()", slot)
        window.addAction(action)
        made.append((window, action))
    return made


def removeShortcuts(shortcuts: list) -> None:
    """The keys belong to the application again."""
    for window, action in shortcuts:
        window.removeAction(action)
        action.deleteLater()
    shortcuts.clear()
