"""The stand-in's signals, slots and event loop: who is called, with what, for how long."""

import sys

import pytest

from . import standin


def test_a_python_subclass_may_have_attributes_and_override_virtual_functions(placed):
    import qt

    class Filter(qt.QObject):
        def __init__(self):
            qt.QObject.__init__(self)
            self.seen = []

        def eventFilter(self, watched, event):
            self.seen.append((watched, event.type()))
            return False

    watcher, label = Filter(), qt.QLabel("x")
    label.installEventFilter(watcher)
    label.enabled = False
    assert (label, qt.QEvent.EnabledChange) in watcher.seen


def test_connecting_to_a_signal_that_is_not_there_is_refused(placed):
    import qt

    button = qt.QPushButton("x")
    for signature in ("clicked", "pushed()", "clicked(int)"):
        with pytest.raises((AttributeError, ValueError)):
            button.connect(signature, print)
    with pytest.raises(NotImplementedError):  # Qt 5 only
        qt.QComboBox().connect("currentIndexChanged(QString)", print)


def test_a_function_gets_as_many_arguments_as_it_has_parameters(placed):
    import qt

    button, got = qt.QPushButton("x"), []
    button.clicked.connect(lambda: got.append(()))
    button.clicked.connect(lambda checked="default": got.append(checked))
    button.connect("clicked()", lambda checked="default": got.append(checked))
    button.click()
    assert got == [(), False, "default"]


def test_an_exception_in_a_slot_is_remembered_and_not_raised(placed):
    import qt
    import slicer

    button = qt.QPushButton("x")
    button.connect("clicked()", lambda: 1 / 0)
    button.click()
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTextNode")
    node.AddObserver("ModifiedEvent", lambda caller, event: {}["gone"])
    node.Modified()
    errors = list(placed.errors)
    placed.errors.clear()
    assert "ZeroDivisionError" in errors[0] and "KeyError" in errors[1]


def test_disconnecting_ends_the_calls(placed):
    import qt

    box, got = qt.QSpinBox(), []
    box.connect("valueChanged(int)", got.append)
    box.value = 3
    assert box.disconnect("valueChanged(int)", got.append)
    assert not box.disconnect("valueChanged(int)", got.append)
    box.value = 4
    assert got == [3]


def test_an_object_that_nobody_holds_is_gone_at_once(placed):
    import qt

    ticks = []

    def forget(parent):
        timer = qt.QTimer(parent)
        timer.connect("timeout()", lambda: ticks.append(parent))
        timer.start(1)

    parent = qt.QWidget()
    forget(None)
    forget(parent)
    assert standin.pump(lambda: len(ticks) > 2) and None not in ticks


def test_a_child_process_runs_while_the_event_loop_is_pumped(placed):
    import qt

    process, lines, ends = qt.QProcess(), [], []
    process.connect("readyReadStandardOutput()", lambda: lines.append(process.readAllStandardOutput().data()))
    process.connect("finished(int,QProcess::ExitStatus)", lambda code, status: ends.append((code, status)))
    process.start(sys.executable, ["-S", "-c", "print(input())"])
    process.write(b"hello\n")
    assert standin.pump(lambda: ends)
    assert b"".join(lines).split() == [b"hello"] and ends == [(0, qt.QProcess.NormalExit)]
