"""The numbers of the panel: region, table, clipboard, table node."""

from __future__ import annotations

import qt
import slicer
import vtk
from slicer.i18n import tr as _

from MAPDiffPanelLib import measurements, regions
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

    def markRow(self, row: int) -> None:
        """The dose that the slider is at, or nearest to."""
        self._row = row
        if row < len(self.rows):
            self.ui.numbersTable.selectRow(row)

    def _begin(self) -> None:
        self._stale = False
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
        yield from measurements.measure(self.result, self._region, rows)
        self.rows, self.ui.numbersLabel.text = rows, ""
        self._show()
        if self._stale:
            self._begin()

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

    def _head(self) -> list[str]:
        return measurements.columns(self.result is not None and suvFactor(self.result.nodes[0]) is not None)

    def _show(self) -> None:
        table, head = self.ui.numbersTable, self._head()
        table.setColumnCount(len(head))
        table.setHorizontalHeaderLabels(head)
        self._header.setSectionResizeMode(0, qt.QHeaderView.ResizeToContents)
        table.setRowCount(len(self.rows))
        for row, values in enumerate(self.rows):
            for column, text in enumerate(measurements.formatRow(values)):
                item = qt.QTableWidgetItem(text)
                item.setTextAlignment((qt.Qt.AlignRight if column else qt.Qt.AlignLeft) | qt.Qt.AlignVCenter)
                table.setItem(row, column, item)
        self.markRow(self._row)
        for button in (self.ui.copyButton, self.ui.tableButton):
            allow(button, "" if self.rows else _("There are no numbers yet."))

    def _copy(self) -> None:
        qt.QApplication.clipboard().setText(measurements.asText(self._head(), self.rows))
        self.ui.numbersLabel.text = _("Copied, for a spreadsheet.")

    def _toTable(self) -> None:
        name = _("{title} numbers").format(title=self.result.title)
        node = measurements.asTableNode(slicer.mrmlScene, name, self._head(), self.rows)
        self.ui.numbersLabel.text = _("Added to the scene as {name}.").format(name=node.GetName())
