"""What the real classes of qt, ctk and qMRML have: properties, signals, methods and every name that Python sees.

classes.json beside this file is a compact copy of widgets.json (read off the real widgets): the classes in CLASSES.
Write it again with: python -m Testing.slicer.standin.tables path/to/widgets.json
"""

from __future__ import annotations

import json
import sys
from functools import cache
from pathlib import Path
from typing import NamedTuple

TABLE = Path(__file__).with_name("classes.json")
CLASSES = """
QAction QButtonGroup QCheckBox QComboBox QDialog QDoubleSpinBox QFileDialog QFormLayout QFrame QGridLayout QGroupBox
QHBoxLayout QLabel QLineEdit QListWidget QMessageBox QPlainTextEdit QProcess QProgressBar QPushButton QRadioButton
QSlider QSpinBox QStackedWidget QTabWidget QTableWidget QTextBrowser QTimer QToolButton QTreeWidget QVBoxLayout QWidget
ctkCollapsibleButton ctkDoubleSlider ctkMessageBox ctkSliderWidget
qMRMLLayoutManager qMRMLNodeComboBox qMRMLSliceControllerWidget qMRMLSliceView qMRMLSliceWidget
qMRMLSortFilterProxyModel qMRMLWidget
""".split()

# Of the application, which has not been read off: as its header declares it (qSlicerAbstractModuleWidget.h).
DECLARED = {
    "qSlicerScriptedLoadableModuleWidget": {
        "base": "qMRMLWidget",
        "properties": {"isEntered": "bool (read only)"},
        "signals": [],
        "names": "enter exit isEntered reload self setup",
    }
}


class Signal(NamedTuple):
    """A signal's name and the C++ types of its arguments."""

    name: str
    types: tuple[str, ...]

    @classmethod
    def parse(cls, signature: str) -> Signal:
        """'finished(int, QProcess::ExitStatus)' -> ('finished', ('int', 'QProcess::ExitStatus'))."""
        name, bracket, rest = "".join(signature.split()).partition("(")
        if not bracket or not rest.endswith(")"):
            raise ValueError(f"{signature!r} is no signal: write the argument types too, as in 'clicked(bool)'")
        return cls(name, tuple(rest[:-1].split(",")) if rest[:-1] else ())


class Table(NamedTuple):
    """One class of the real application; those of a widget include QWidget's."""

    name: str
    properties: dict[str, str]  # writable ones: name -> C++ type
    read_only: dict[str, str]
    signals: tuple[Signal, ...]
    names: frozenset[str]  # everything that hasattr() finds


@cache
def _classes() -> dict:
    return json.loads(TABLE.read_text(encoding="utf-8"))


@cache
def table_of(name: str) -> Table | None:
    """The table of a class by its Qt name; None when it was never read off."""
    entry = _classes().get(name) or DECLARED.get(name)
    if entry is None:
        return None
    base = table_of(entry["base"]) if "base" in entry else Table("", {}, {}, (), frozenset())
    written, read_only = dict(base.properties), dict(base.read_only)
    for key, kind in entry["properties"].items():
        plain = kind.removesuffix(" (read only)")
        written.pop(key, None)
        read_only.pop(key, None)
        (written if plain == kind else read_only)[key] = plain
    signals = {Signal.parse(signature): None for signature in entry["signals"]}
    return Table(
        name,
        written,
        read_only,
        tuple(signals | dict.fromkeys(base.signals)),
        base.names | frozenset(entry["names"].split()),
    )


def compact(full: dict) -> dict:
    """The part of widgets.json that the stand-in needs: CLASSES, names in one string."""
    chosen = {}
    for name in CLASSES:
        entry = {key: full[name][key] for key in ("base", "properties", "signals") if key in full[name]}
        chosen[name] = entry | {"names": " ".join(full[name]["names"])}
    return chosen


if __name__ == "__main__":
    lines = [
        f"{json.dumps(name)}: {json.dumps(entry, separators=(',', ':'))}"
        for name, entry in compact(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))).items()
    ]
    TABLE.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
