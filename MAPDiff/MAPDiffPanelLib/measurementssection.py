"""The numbers of the panel: region, table with the best estimate below it, clipboard, table node."""

from __future__ import annotations

import qt
import slicer
import vtk
from slicer.i18n import tr as _

from MAPDiffPanelLib import measurements, regions
from MAPDiffPanelLib.best_estimate import EXPLAINED, BestEstimate, Estimate
from MAPDiffPanelLib.enabling import allow
from MAPDiffPanelLib.idle_tasks import IdleTasks
from MAPDiffPanelLib.node_watch import NodeWatch
from MAPDiffPanelLib.scan import voxelsOf
from MAPDiffPanelLib.units import suvFactor

FOLLOW_MS = 100  # between two looks at an ROI that is being dragged
ROW_HEIGHT = 20


class MeasurementsSection:
    """Fills the table in small steps, whenever the result, its doses or the region change."""

    def __init__(self, ui):
        self.ui, self._parameters, self.result = ui, None, None
        self.tasks, self.rows, self._filling, self._default = IdleTasks(), [], False, {}
        self._watch, self._stale, self._row = NodeWatch(self._changed, FOLLOW_MS), False, 0
        self.estimate, self._asker, self._estimateWords = None, BestEstimate(self._estimated), ("", "")
        header = ui.numbersTable.horizontalHeader()
        header.setSectionResizeMode(qt.QHeaderView.Stretch)
        header.setHighlightSections(False)  # bold, the words would not fit
        self._header = header
        ui.numbersTable.verticalHeader().setDefaultSectionSize(ROW_HEIGHT)
        ui.regionSelector.connect("currentNodeChanged(vtkMRMLNode*)", self._regionChosen)
        ui.segmentSelector.connect("currentIndexChanged(int)", self._segmentChosen)
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
        self._watch.release()
        self.tasks.clear()
        self._asker.stopNow()

    def use(self, result) -> None:
        """The numbers of this result, None for none."""
        self.result = result
        self.measure()

    def measure(self) -> None:
        """The table anew; a measurement under way is dropped."""
        self._watchNodes()
        self.tasks.clear()
        self.rows, self.ui.numbersLabel.text = [], ""
        self._show()
        self._begin()

    @property
    def busy(self) -> bool:
        """Whether a number is still to come."""
        return self.tasks.busy or self._asker.busy

    def markRow(self, row: int) -> None:
        """The dose that the slider is at, or nearest to."""
        self._row = row
        if row < len(self.rows):
            self.ui.numbersTable.selectRow(row)

    def _begin(self) -> None:
        self._stale = False
        self._asker.drop()
        if self.result is not None:
            self.tasks.add(self._measured([]), self._failed)

    def _changed(self) -> None:
        """What is measured has changed: the numbers stay until the new ones are there."""
        self._fillSegments()
        if self.tasks.busy:
            self._stale = True
        else:
            self._begin()

    def _watchNodes(self) -> None:
        """Voxels, units and transforms of the volumes; shape, place and content of the region."""
        node, volumes = self._regionNode(), self.result.nodes if self.result is not None else []
        moved = slicer.vtkMRMLTransformableNode.TransformModifiedEvent
        voxels = [vtk.vtkCommand.ModifiedEvent, slicer.vtkMRMLVolumeNode.ImageDataModifiedEvent, moved]
        watched = [(volume, voxels) for volume in volumes]
        if node is not None and node.IsA("vtkMRMLSegmentationNode"):
            watched += [(node, [moved]), (node.GetSegmentation(), regions.SEGMENTATION_EVENTS)]
        elif node is not None:
            points = slicer.vtkMRMLMarkupsNode.PointModifiedEvent
            watched += [(node, [vtk.vtkCommand.ModifiedEvent, points, moved])]
        self._watch.watch(watched)

    def _measured(self, rows: list):
        region = yield from self._region()
        yield
        yield from measurements.measure(self.result, region, rows)
        self.rows, self.ui.numbersLabel.text = rows, ""
        self._askAbout(region)
        self._show()
        if self._stale:
            self._begin()

    def _askAbout(self, region: regions.Region) -> None:
        """The best estimate is of a region that somebody drew; the table's last row says what it waits for."""
        lacking = _("being computed")
        if self._regionNode() is None:
            lacking = _("choose an ROI or a segment")
        elif self.result.inputNode is None:
            lacking = _("needs the scan, which has gone")
        elif self.result.meanOf(1.0) is None:
            lacking = _("needs the full dose: restore it too")
        else:
            self._asker.ask(self.result, region)
        self.estimate, self._estimateWords = None, (lacking, EXPLAINED)

    def _estimated(self, estimate: Estimate | None, message: str) -> None:
        """The answer, or why there is none: a short word in the row, the sentence under the table."""
        self.estimate, self._estimateWords = estimate, (_("not computed; see below"), message)
        if estimate is not None:
            self._estimateWords = estimate.words(self._factor()), EXPLAINED
            message = _("! {warning}").format(warning=estimate.warning) if estimate.warning else ""
        self.ui.numbersLabel.text = message
        self._showEstimate()

    def _failed(self, error: Exception) -> None:
        """A region outside the volume is no fault of the program: one sentence under the table."""
        self.rows = []
        self._show()
        self.ui.numbersLabel.text = str(error)
        if self._stale:
            self._begin()

    def _region(self):
        node, scan = self._regionNode(), self.result.nodes[0]
        if node is None:
            return (yield from self._liverLike(scan))
        if node.IsA("vtkMRMLSegmentationNode"):
            segment = str(self.ui.segmentSelector.currentData or "")
            if not segment:
                raise regions.RegionError(_("This segmentation has no segment to measure in."))
            return (yield from regions.insideSegment(node, segment, scan))
        return (yield from regions.insideRoi(node, scan))

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

    def _factor(self) -> float:
        return suvFactor(self.result.nodes[0]) or 1.0

    def _head(self) -> list[str]:
        return measurements.columns(self.result is not None and suvFactor(self.result.nodes[0]) is not None)

    def _show(self) -> None:
        table, head = self.ui.numbersTable, self._head()
        table.setColumnCount(len(head))
        table.setHorizontalHeaderLabels(head)
        self._header.setSectionResizeMode(0, qt.QHeaderView.ResizeToContents)
        table.clearSpans()
        table.setRowCount(len(self.rows) + 1 if self.rows else 0)
        for row, values in enumerate(self.rows):
            for column, text in enumerate(measurements.formatRow(values)):
                self._setCell(row, column, text)
        if self.rows:
            table.setSpan(len(self.rows), 1, 1, len(head) - 1)
            self._setCell(len(self.rows), 0, _("estimate"), EXPLAINED)
            self._showEstimate()
        self.markRow(self._row)
        for button in (self.ui.copyButton, self.ui.tableButton):
            allow(button, "" if self.rows else _("There are no numbers yet."))

    def _showEstimate(self) -> None:
        self._setCell(len(self.rows), 1, *self._estimateWords)

    def _setCell(self, row: int, column: int, text: str, toolTip: str = "") -> None:
        item = qt.QTableWidgetItem(text)
        numbers = column and row < len(self.rows)
        item.setTextAlignment((qt.Qt.AlignRight if numbers else qt.Qt.AlignLeft) | qt.Qt.AlignVCenter)
        item.setToolTip(toolTip)
        self.ui.numbersTable.setItem(row, column, item)

    def _table(self) -> tuple[list[str], list[list]]:
        """Head and rows with all digits, for elsewhere; the best estimate once it is there."""
        if self.estimate is None:
            return self._head(), self.rows
        return measurements.withEstimate(self._head(), self.rows, self.estimate, self._factor())

    def _copy(self) -> None:
        qt.QApplication.clipboard().setText(measurements.asText(*self._table()))
        self.ui.numbersLabel.text = _("Copied, for a spreadsheet.")

    def _toTable(self) -> None:
        name = _("{title} numbers").format(title=self.result.title)
        node = measurements.asTableNode(slicer.mrmlScene, name, *self._table())
        self.ui.numbersLabel.text = _("Added to the scene as {name}.").format(name=node.GetName())
