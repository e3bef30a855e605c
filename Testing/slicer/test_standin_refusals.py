"""What the stand-in's widgets refuse, as the real ones do: names, values, a dialog that nobody answers."""

import pytest


def test_names_that_the_real_class_lacks_are_refused(placed):
    import ctk
    import qt
    import slicer

    refused = [
        (ctk.ctkSliderWidget(), "setMaximum"),  # CTK's setters are properties unless they are slots
        (ctk.ctkSliderWidget(), "spinBox"),
        (slicer.qMRMLNodeComboBox(), "setNodeTypes"),
        (slicer.qMRMLNodeComboBox(), "currentIndex"),
        (qt.QLabel("x"), "clicked"),
        (qt.QPushButton("x"), "staticMetaObject"),
        (qt.QComboBox(), "emit"),
    ]
    for widget, name in refused:
        assert not hasattr(widget, name), (widget, name)
        with pytest.raises(AttributeError):
            setattr(widget, name, 1)


def test_read_only_properties_slots_and_signals_cannot_be_set(placed):
    import qt

    combo = qt.QComboBox()
    for name in ("count", "currentData", "addItem", "currentIndexChanged", "AdjustToContents", "width"):
        with pytest.raises(AttributeError):
            setattr(combo, name, 1)


def test_a_value_of_the_wrong_type_is_refused(placed):
    import qt
    import slicer

    for widget, name, value in [
        (qt.QLabel(), "text", 5),
        (qt.QLabel(), "text", None),
        (qt.QSpinBox(), "value", "5"),
        (qt.QPushButton(), "enabled", "yes"),
        (slicer.qMRMLNodeComboBox(), "nodeTypes", "vtkMRMLScalarVolumeNode"),
    ]:
        with pytest.raises(AttributeError):
            setattr(widget, name, value)
    with pytest.raises(ValueError):
        qt.QLabel().setText(5)


def test_a_deleted_widget_refuses_everything(placed):
    import qt

    label = qt.QLabel("x")
    label.delete()
    assert not label
    with pytest.raises(ValueError):
        label.text  # noqa: B018


def test_a_dialog_that_nobody_answers_fails_instead_of_waiting(placed):
    import qt
    import slicer

    placed.testing = False
    with pytest.raises(AssertionError, match="nobody answers"):
        slicer.util.errorDisplay("the worker ended", detailedText="line 3")
    placed.dialogs.answer(qt.QMessageBox.Yes, "/data/bundle", qt.QMessageBox.Ok)
    assert qt.QMessageBox.question(None, "MAPDiff", "Install?") == qt.QMessageBox.Yes
    assert qt.QFileDialog.getExistingDirectory(None, "Folder") == "/data/bundle"
    slicer.util.errorDisplay("again")
    placed.testing = True
    slicer.util.errorDisplay("silent")
    assert [shown.text for shown in placed.dialogs.shown] == ["the worker ended", "Install?", "Folder", "again"]
    assert placed.dialogs.shown[0].details == "line 3"
