"""CTK's widgets in PySide6, as far as a panel sees them: same properties and signals, a similar look."""

from __future__ import annotations

from PySide6 import QtCore, QtWidgets
from PySide6.QtCore import Property, Qt, Signal

from .ctk_sliders import ctkDoubleSlider, ctkSliderWidget  # noqa: F401
from .stored import stored


class ctkMessageBox(QtWidgets.QMessageBox):
    """What slicer.util shows its messages in."""

    dontShowAgainVisible = stored(bool, "dontShowAgainVisible", False)
    dontShowAgainSettingsKey = stored(str, "dontShowAgainSettingsKey", "")
    dontShowAgain = stored(bool, "dontShowAgain", False)


class ctkCollapsibleButton(QtWidgets.QAbstractButton):
    """A header that folds what is below it."""

    HEADER = 24
    contentsCollapsed = Signal(bool)
    flat = stored(bool, "flat", False)
    collapsedHeight = stored(int, "collapsedHeight", 10)
    contentsLineWidth = stored(int, "contentsLineWidth", 1)
    contentsMidLineWidth = stored(int, "contentsMidLineWidth", 0)
    contentsFrameShape = stored(int, "contentsFrameShape", int(QtWidgets.QFrame.Shape.NoFrame.value))
    contentsFrameShadow = stored(int, "contentsFrameShadow", int(QtWidgets.QFrame.Shadow.Plain.value))

    def __init__(self, *arguments):
        text = next((each for each in arguments if isinstance(each, str)), None)
        super().__init__(next((each for each in arguments if not isinstance(each, str)), None))
        self._shown_before = {}
        if text is not None:
            self.setText(text)
        self.setCheckable(True)
        self.setChecked(True)
        self.setContentsMargins(0, self.HEADER, 0, 0)
        self.setSizePolicy(QtWidgets.QSizePolicy.Policy.Preferred, QtWidgets.QSizePolicy.Policy.Preferred)
        self.toggled.connect(lambda opened: self._fold(not opened))

    def _fold(self, folded):
        for child in self.findChildren(QtWidgets.QWidget, options=Qt.FindChildOption.FindDirectChildrenOnly):
            if folded:
                self._shown_before[child] = not child.isHidden()
            child.setVisible(not folded and self._shown_before.get(child, True))
        self.setMaximumHeight(self.HEADER if folded else 16777215)
        self.updateGeometry()
        self.contentsCollapsed.emit(folded)

    collapsed = Property(bool, lambda self: not self.isChecked(), lambda self, value: self.setChecked(not value))

    def childEvent(self, event):
        # Not before the child is polished: asked for while it is being made, PySide keeps it as a bare QWidget.
        if event.polished() and not self.isChecked() and event.child().isWidgetType():
            event.child().hide()
        super().childEvent(event)

    def hitButton(self, point):
        return point.y() < self.HEADER

    def sizeHint(self):
        layout = self.layout()
        inner = layout.totalSizeHint() if layout and self.isChecked() else QtCore.QSize(0, self.HEADER)
        return QtCore.QSize(max(inner.width(), 160), max(inner.height(), self.HEADER))

    def minimumSizeHint(self):
        layout = self.layout()
        return layout.totalMinimumSize() if layout and self.isChecked() else QtCore.QSize(100, self.HEADER)

    def paintEvent(self, event):
        painter = QtWidgets.QStylePainter(self)
        option = QtWidgets.QStyleOptionButton()
        option.initFrom(self)
        option.rect = QtCore.QRect(0, 0, self.width(), self.HEADER - 2)
        painter.drawControl(QtWidgets.QStyle.ControlElement.CE_PushButtonBevel, option)
        style = QtWidgets.QStyle.PrimitiveElement
        arrow = QtWidgets.QStyleOption()
        arrow.initFrom(self)
        arrow.rect = QtCore.QRect(6, 6, 10, 10)
        painter.drawPrimitive(style.PE_IndicatorArrowDown if self.isChecked() else style.PE_IndicatorArrowRight, arrow)
        painter.drawText(option.rect.adjusted(22, 0, -6, 0), Qt.AlignmentFlag.AlignVCenter, self.text())
