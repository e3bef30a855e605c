"""The numbers of the panel: region, table, clipboard, table node."""

from __future__ import annotations

import qt
import slicer
from slicer.i18n import tr as _

from MAPDiffPanelLib import measurements, regions
from MAPDiffPanelLib.enabling import allow
from MAPDiffPanelLib.idle_tasks import IdleTasks
from MAPDiffPanelLib.scan import voxelsOf
from MAPDiffPanelLib.units import isSuv, unitsCode, unitsOf


class MeasurementsSection:
    """Fills the table in small steps, whenever the result, its doses or the region change."""

    def __init__(self, ui):
        self.ui, self._parameters, self.result = ui, None, None
        self.tasks, self.rows, self._filling, self._default = IdleTasks(), [], False, {}
        ui.regionSelector.connect("currentNodeChanged(vtkMRMLNode*)", self._regionChosen)
        ui.segmentSelector.connect("currentIndexChanged(int)", self._segmentChosen)
        ui.measureButton.connect("clicked()", self.measure)
        ui.copyButton.connect("clicked()", self._copy)
        ui.tableButton.connect("clicked()", self._toTable)
        self._show()

    def setParameters(self, parameters) -> None:
        """The parameter node keeps the region and the segment."""
        self._parameters = None
        if parameters is not None:
            self.ui.regionSelector.setCurrentNode(parameters.region)
        self._parameters = parameters
        self._fillSegments()

    def release(self) -> None:
        """Nothing goes on in the background."""
        self.tasks.clear()

    def use(self, result) -> None:
        """The numbers of this result, None for none."""
        self.result = result
        self.measure()

    def measure(self) -> None:
        """The table anew; a measurement under way is dropped."""
        self.tasks.clear()
        self.rows, self.ui.numbersLabel.text = [], ""
        self._show()
        if self.result is not None:
            rows: list = []
            self.tasks.add(self._measured(rows), self._failed)

    def _measured(self, rows: list):
        yield from measurements.measure(self.result, self._region, rows)
        self.rows = rows
        self._show()

    def _failed(self, error: Exception) -> None:
        """A region outside the volume is no fault of the program: one sentence under the table."""
        self.rows = []
        self._show()
        self.ui.numbersLabel.text = str(error)

    def _region(self):
        node, scan = self._regionNode(), self.result.nodes[0]
        if node is None:
            return (yield from self._liverLike(scan))
        if node.IsA("vtkMRMLSegmentationNode"):
            segment = str(self.ui.segmentSelector.currentData or "")
            if not segment:
                raise regions.RegionError(_("This segmentation has no segment to measure in."))
            return (yield from regions.insideSegment(node, segment, scan))
        return regions.insideRoi(node, scan)

    def _liverLike(self, scan):
        """Found once per scan: every dose is measured in the same place."""
        key = (scan.GetID(), scan.GetImageData().GetMTime())
        if key not in self._default:
            self._default = {key: (yield from regions.liverLike(voxelsOf(scan), scan.GetSpacing()))}
        return self._default[key]

    def _regionNode(self):
        return self.ui.regionSelector.currentNode()

    def _regionChosen(self, _node=None) -> None:
        if self._parameters is not None:
            self._parameters.region = self._regionNode()
            self._fillSegments()
            self.measure()

    def _segmentChosen(self, index: int) -> None:
        if not self._filling and index >= 0 and self._parameters is not None:
            self._parameters.segment = str(self.ui.segmentSelector.itemData(index))
            self.measure()

    def _fillSegments(self) -> None:
        self._filling = True
        selector, node = self.ui.segmentSelector, self._regionNode()
        selector.clear()
        segmented = node is not None and node.IsA("vtkMRMLSegmentationNode")
        if segmented:
            segmentation = node.GetSegmentation()
            for index in range(segmentation.GetNumberOfSegments()):
                segmentID = segmentation.GetNthSegmentID(index)
                selector.addItem(segmentation.GetSegment(segmentID).GetName(), segmentID)
            wanted = selector.findData(self._parameters.segment) if self._parameters is not None else -1
            selector.setCurrentIndex(max(0, wanted))
        allow(selector, "" if segmented else _("Choose a segmentation on the left first."))
        self._filling = False

    def _head(self) -> list[str]:
        suv = False
        if self.result is not None:
            node = self.result.nodes[0]
            suv = isSuv(unitsCode(unitsOf(node)[1], node.GetAttribute("DICOM.MeasurementUnitsCodeValue")))
        return measurements.columns(suv)

    def _show(self) -> None:
        table, head = self.ui.numbersTable, self._head()
        table.setColumnCount(len(head))
        table.setHorizontalHeaderLabels(head)
        table.setRowCount(len(self.rows))
        for row, values in enumerate(self.rows):
            for column, text in enumerate(measurements.formatRow(values)):
                item = qt.QTableWidgetItem(text)
                item.setTextAlignment(int(qt.Qt.AlignRight if column else qt.Qt.AlignLeft) | int(qt.Qt.AlignVCenter))
                table.setItem(row, column, item)
        table.resizeColumnsToContents()
        allow(self.ui.measureButton, "" if self.result is not None else _("There is no result to measure yet."))
        for button in (self.ui.copyButton, self.ui.tableButton):
            allow(button, "" if self.rows else _("There are no numbers yet."))

    def _copy(self) -> None:
        qt.QApplication.clipboard().setText(measurements.asText(self._head(), self.rows))

    def _toTable(self) -> None:
        name = _("{title} numbers").format(title=self.result.title)
        measurements.asTableNode(slicer.mrmlScene, name, self._head(), self.rows)
