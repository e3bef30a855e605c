"""CTK's sliders of fractional numbers in PySide6."""

from __future__ import annotations

from PySide6 import QtWidgets
from PySide6.QtCore import Property, Qt, Signal

from .stored import stored


class ctkDoubleSlider(QtWidgets.QWidget):
    """A slider of fractional steps: value = step x whole number, as in CTK, but limits kept exactly."""

    valueChanged = Signal(float)
    sliderMoved = Signal(float)
    sliderPressed = Signal()
    sliderReleased = Signal()
    rangeChanged = Signal(float, float)
    tracking = stored(bool, "tracking", True)
    handleToolTip = stored(str, "handleToolTip", "")
    invertedAppearance = stored(bool, "invertedAppearance", False)
    invertedControls = stored(bool, "invertedControls", False)

    def __init__(self, *arguments):
        widgets = [each for each in arguments if isinstance(each, QtWidgets.QWidget)]
        super().__init__(*widgets)
        directions = [each for each in arguments if isinstance(each, Qt.Orientation)]
        self._slider = QtWidgets.QSlider(*(directions or [Qt.Orientation.Vertical]))
        box = QtWidgets.QHBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        box.addWidget(self._slider)
        self._minimum, self._maximum, self._step, self._page, self._value, self._ticks = 0.0, 99.0, 1.0, 10.0, 0.0, 0.0
        self._refresh()
        self._slider.valueChanged.connect(self._moved)
        self._slider.sliderPressed.connect(self.sliderPressed)
        self._slider.sliderReleased.connect(self.sliderReleased)

    def _refresh(self):
        self._slider.blockSignals(True)
        self._slider.setRange(0, max(0, round((self._maximum - self._minimum) / self._step)))
        self._slider.setValue(round((self._value - self._minimum) / self._step))
        self._slider.setTickInterval(round(self._ticks / self._step))
        self._slider.setPageStep(max(1, round(self._page / self._step)))
        self._slider.blockSignals(False)

    def _moved(self, position):
        self._set(self._minimum + position * self._step)
        if self._slider.isSliderDown():
            self.sliderMoved.emit(self._value)

    def _set(self, value):
        value = min(max(float(value), self._minimum), self._maximum)
        if value != self._value:
            self._value = value
            self._refresh()
            self.valueChanged.emit(value)

    def setValue(self, value):
        self._set(value)

    def _limits(self, minimum, maximum):
        self._minimum, self._maximum = min(minimum, maximum), max(minimum, maximum)
        self.rangeChanged.emit(self._minimum, self._maximum)
        self._set(self._value)
        self._refresh()

    def _keep(self, name, value):
        setattr(self, name, value)
        self._refresh()

    def setOrientation(self, orientation):
        self._slider.setOrientation(orientation)

    value = Property(float, lambda self: self._value, _set)
    minimum = Property(
        float, lambda self: self._minimum, lambda self, value: self._limits(value, max(value, self._maximum))
    )
    maximum = Property(
        float, lambda self: self._maximum, lambda self, value: self._limits(min(value, self._minimum), value)
    )
    singleStep = Property(float, lambda self: self._step, lambda self, value: self._keep("_step", value))
    pageStep = Property(float, lambda self: self._page, lambda self, value: self._keep("_page", value))
    tickInterval = Property(float, lambda self: self._ticks, lambda self, value: self._keep("_ticks", value))
    tickPosition = Property(
        QtWidgets.QSlider.TickPosition,
        lambda self: self._slider.tickPosition(),
        lambda self, value: self._slider.setTickPosition(QtWidgets.QSlider.TickPosition(value)),
    )
    orientation = Property(
        Qt.Orientation, lambda self: self._slider.orientation(), lambda self, value: self.setOrientation(value)
    )


class ctkSliderWidget(QtWidgets.QWidget):
    """A slider with a spin box."""

    valueChanged = Signal(float)
    decimalsChanged = Signal(int)
    tracking = stored(bool, "tracking", True)
    popupSlider = stored(bool, "popupSlider", False)
    invertedAppearance = stored(bool, "invertedAppearance", False)
    invertedControls = stored(bool, "invertedControls", False)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._slider = ctkDoubleSlider(Qt.Orientation.Horizontal)
        self._box = QtWidgets.QDoubleSpinBox()
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self._slider, 1)
        row.addWidget(self._box)
        self._box.setRange(0, 99)
        self._box.setSingleStep(1)
        self._value = 0.0
        self._slider.valueChanged.connect(self._set)
        self._box.valueChanged.connect(self._typed)

    def _typed(self, value):
        if abs(value - self._value) > 0.5 * 10 ** -self._box.decimals():
            self._set(value)

    def _set(self, value):
        value = min(max(float(value), self._slider.minimum), self._slider.maximum)
        if value == self._value:
            return
        self._value = value
        for part in (self._slider, self._box):
            part.blockSignals(True)
            part.setValue(value)
            part.blockSignals(False)
        self.valueChanged.emit(value)

    def setValue(self, value):
        self._set(value)

    def reset(self):
        self._set(min(max(0.0, self._slider.minimum), self._slider.maximum))

    def _limit(self, name, value):
        setattr(self._slider, name, value)
        self._box.blockSignals(True)
        self._box.setRange(self._slider.minimum, self._slider.maximum)
        self._box.blockSignals(False)
        self._set(self._value)

    def _set_step(self, value):
        self._slider.singleStep = value
        self._box.setSingleStep(value)

    def setDecimals(self, decimals):
        self._box.setDecimals(decimals)
        self.decimalsChanged.emit(decimals)

    value = Property(float, lambda self: self._value, _set)
    minimum = Property(float, lambda self: self._slider.minimum, lambda self, value: self._limit("minimum", value))
    maximum = Property(float, lambda self: self._slider.maximum, lambda self, value: self._limit("maximum", value))
    singleStep = Property(float, lambda self: self._slider.singleStep, _set_step)
    pageStep = Property(
        float, lambda self: self._slider.pageStep, lambda self, value: setattr(self._slider, "pageStep", value)
    )
    tickInterval = Property(
        float, lambda self: self._slider.tickInterval, lambda self, value: setattr(self._slider, "tickInterval", value)
    )
    tickPosition = Property(
        QtWidgets.QSlider.TickPosition,
        lambda self: self._slider.tickPosition,
        lambda self, value: setattr(self._slider, "tickPosition", value),
    )
    decimals = Property(int, lambda self: self._box.decimals(), lambda self, value: self.setDecimals(value))
    prefix = Property(str, lambda self: self._box.prefix(), lambda self, value: self._box.setPrefix(value))
    suffix = Property(str, lambda self: self._box.suffix(), lambda self, value: self._box.setSuffix(value))
