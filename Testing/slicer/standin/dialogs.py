"""Dialogs answered by the test: what a person would have to click is said beforehand, and nothing ever waits."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from PySide6 import QtWidgets

from .facade import static_functions, wrap
from .members import instance_functions


class Shown(NamedTuple):
    """What the user saw: 'QMessageBox', 'QFileDialog', ...; the text; the folded details."""

    kind: str
    text: str
    details: str = ""


class Dialogs:
    """Answers to come, and what was shown. An answer may be a function of the dialog, which returns the result."""

    def __init__(self):
        self.shown: list[Shown] = []
        self._answers: deque = deque()

    def answer(self, *answers):
        """What the next dialogs get: a button, a path, an item, or a function that is given the dialog."""
        self._answers.extend(answers)

    @property
    def unused(self) -> list:
        """Answers that no dialog asked for."""
        return list(self._answers)

    def clear(self):
        self.shown.clear()
        self._answers.clear()

    def ask(self, kind, text, details="", dialog=None):
        """The answer; AssertionError when the test gave none, for a person would be waited for."""
        self.shown.append(Shown(kind, text, details))
        if not self._answers:
            raise AssertionError(f"nobody answers this {kind}: {text!r}")
        answer = self._answers.popleft()
        return answer(wrap(dialog) if dialog is not None else None) if callable(answer) else answer


dialogs = Dialogs()


def _text(arguments, index):
    return next((each for each in arguments[index:] if isinstance(each, str)), "")


def _message(*arguments):  # parent, title, text, buttons
    return dialogs.ask("QMessageBox", arguments[2] if len(arguments) > 2 else _text(arguments, 0))


def _path(*arguments):  # parent, caption, folder, filter; PythonQt returns the path alone, PySide6 a pair
    return dialogs.ask("QFileDialog", _text(arguments, 0))


def _input(*arguments):
    return dialogs.ask("QInputDialog", _text(arguments[2:], 0))


def _exec(raw):
    kinds = ("QMessageBox", "QFileDialog", "QDialog")
    kind = next(base.__name__ for base in type(raw).__mro__ if base.__name__ in kinds)
    text = raw.text() if isinstance(raw, QtWidgets.QMessageBox) else raw.windowTitle()
    details = raw.detailedText() if isinstance(raw, QtWidgets.QMessageBox) else ""
    return dialogs.ask(kind, text, details, raw)


for _name in ("question", "information", "warning", "critical", "about"):
    static_functions["QMessageBox", _name] = _message
for _name in ("getOpenFileName", "getSaveFileName", "getExistingDirectory", "getOpenFileNames"):
    static_functions["QFileDialog", _name] = _path
for _name in ("getText", "getItem", "getInt", "getDouble"):
    static_functions["QInputDialog", _name] = _input
for _name in ("exec", "exec_"):
    instance_functions["QDialog", _name] = _exec
