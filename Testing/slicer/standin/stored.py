"""Qt properties of widgets written in Python."""

from __future__ import annotations

from PySide6.QtCore import Property


def stored(kind, name, default, changed=None):
    """A Qt property that is only kept (`changed(self)` is called after it was set)."""

    def read(self):
        return self.__dict__.get(f"_{name}", default)

    def write(self, value):
        self.__dict__[f"_{name}"] = value
        if changed:
            changed(self)

    return Property(kind, read, write)
