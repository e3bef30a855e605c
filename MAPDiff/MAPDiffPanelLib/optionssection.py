"""The folded part of the panel: model bundle, device, and the lists that the parameter node's texts choose from."""

from __future__ import annotations

from collections.abc import Callable

import qt
import slicer
from slicer.i18n import tr as _

from MAPDiffLib.job import ASSUMED_DOSE, DEFAULT_BUNDLE, InputError, dose_label, parse_dose, parse_doses
from MAPDiffPanelLib import bundles, devices
from MAPDiffPanelLib.enabling import allow

AUTO = "auto"
INPUT_DOSES = (AUTO, "1/100", "1/50", "1/20", "1/10", "1/4")
DOSES_AS = [
    ("mean", _("mean (least error, least noise)")),
    ("scan", _("scans (with the noise of each dose, drawn)")),
    ("both", _("both (the scans beside the means)")),
]
GUARDS = [("off", _("off")), ("normal", _("normal")), ("strong", _("strong"))]


class OptionsSection:
    """Fills and reads the combo boxes whose content is only known at run time.

    onChange() after the user has chosen something; the choices themselves live in the parameter node.
    """

    def __init__(self, ui, onChange: Callable[[], None]):
        self.ui, self._onChange, self._parameters, self._filling = ui, onChange, None, False
        self._bundles: list = []
        self._autoDose, self._assumedFor = _("taken as 1/20; set it if you know it"), None
        self._doseToolTip = ui.inputDoseSelector.toolTip
        self.probe = devices.DeviceProbe(self._devicesKnown)
        self._facts: dict = {}
        for selector, slot in (
            (ui.inputDoseSelector, self._inputDoseChosen),
            (ui.bundleSelector, self._bundleChosen),
            (ui.deviceSelector, self._deviceChosen),
            (ui.dosesAsSelector, self._dosesAsChosen),
            (ui.guardSelector, self._guardChosen),
        ):
            selector.connect("currentIndexChanged(int)", slot)
        ui.addBundleButton.connect("clicked()", self._addBundle)
        ui.openBundlesButton.connect("clicked()", self._openFolder)
        ui.removeBundleButton.connect("clicked()", self._removeBundle)
        ui.optionsCollapsibleButton.connect("contentsCollapsed(bool)", self._folded)

    def setParameters(self, parameters) -> None:
        """The parameter node whose texts the lists show; None disconnects."""
        self._parameters = parameters
        if parameters is not None:
            self.refresh()

    def refresh(self) -> None:
        """The lists anew: a scene may name a bundle or a device that is not here."""
        self._bundles = bundles.listBundles()
        chosen = self._parameters.bundle
        entries = [(entry.name, entry.label) for entry in self._bundles]
        if chosen not in [name for name, _label in entries]:
            entries.append((chosen, _("{name} (not found)").format(name=chosen)))
        self._fill(self.ui.bundleSelector, entries, chosen)
        self._fill(self.ui.deviceSelector, self._deviceEntries(), self._parameters.device)
        self._fill(self.ui.dosesAsSelector, DOSES_AS, self._parameters.dosesAs)
        self._fill(self.ui.guardSelector, GUARDS, self._parameters.guard)
        dose = self._parameters.inputDose
        doses = [(text, self._autoDose if text == AUTO else text) for text in INPUT_DOSES]
        doses += [] if dose in INPUT_DOSES else [(dose, dose)]
        self._fill(self.ui.inputDoseSelector, doses, dose)
        self._describe()

    def follow(self) -> None:
        """The parameter node has changed, perhaps not by these lists: what they do not show, they learn."""
        ui, chosen = self.ui, self._parameters
        shown = (ui.inputDoseSelector, ui.bundleSelector, ui.deviceSelector, ui.dosesAsSelector, ui.guardSelector)
        wanted = [chosen.inputDose, chosen.bundle, chosen.device, chosen.dosesAs, chosen.guard]
        if [str(selector.currentData) for selector in shown] != wanted and not self._filling:
            self.refresh()
        if self._assumedFor is not None and self._parameters.inputVolume is not self._assumedFor:
            self.showAssumption({}, None)

    def showAssumption(self, facts: dict, scan) -> None:
        """What the worker took this scan for when nobody said its dose, and what its noise looks like; {}: nothing."""
        self._assumedFor = scan
        dose = dose_label(facts["dose_used"]) if facts.get("dose_assumed") else dose_label(ASSUMED_DOSE)
        self._autoDose = _("taken as {dose}; set it if you know it").format(dose=dose)
        self.ui.inputDoseSelector.setItemText(0, self._autoDose)
        self.ui.inputDoseSelector.toolTip = self._doseToolTip
        if facts.get("dose_hint"):  # longer than the list is wide
            self.ui.inputDoseSelector.toolTip += " " + _("Only a hint: {hint}.").format(hint=facts["dose_hint"])

    def bundle(self):
        """The chosen bundle's entry, None when it is not here."""
        return next((entry for entry in self._bundles if entry.name == self._parameters.bundle), None)

    def jobFields(self) -> dict:
        """The choices as fields of MAPDiffLib.job.Job. InputError with a sentence for the user."""
        parameters, entry = self._parameters, self.bundle()
        if entry is None:
            raise InputError(_("The model {name} is not installed. Choose another under Model and options.").format(
                name=parameters.bundle))  # fmt: skip
        if entry.problem:
            raise InputError(_("The model {name} cannot be used: {problem}.").format(
                name=entry.name, problem=entry.problem))  # fmt: skip
        return {
            "bundle": entry.name,
            "doses": parse_doses(parameters.doses) if parameters.doses.strip() else None,
            "input_dose": None if parameters.inputDose == AUTO else parse_dose(parameters.inputDose),
            "device": parameters.device,
            "doses_as": parameters.dosesAs,
            "guard": parameters.guard,
            "strength": parameters.strength / 100 if parameters.strength else None,
            "samples": parameters.samples or None,
            "seed": parameters.seed,
        }

    def _deviceEntries(self) -> list[tuple[str, str]]:
        entries = devices.choices(self._facts)
        if self._parameters.device not in [device for device, _label in entries]:
            entries.append((self._parameters.device, self._parameters.device))
        return entries

    def _fill(self, selector, entries: list[tuple[str, str]], chosen: str) -> None:
        self._filling = True
        selector.clear()
        for value, label in entries:
            selector.addItem(label, value)
        selector.setCurrentIndex(max(0, [value for value, _label in entries].index(chosen)))
        self._filling = False

    def _choose(self, name: str, selector, index: int) -> None:
        if not self._filling and self._parameters is not None and index >= 0:
            setattr(self._parameters, name, str(selector.itemData(index)))
            self._describe()
            self._onChange()

    def _inputDoseChosen(self, index: int) -> None:
        self._choose("inputDose", self.ui.inputDoseSelector, index)

    def _bundleChosen(self, index: int) -> None:
        self._choose("bundle", self.ui.bundleSelector, index)

    def _deviceChosen(self, index: int) -> None:
        self._choose("device", self.ui.deviceSelector, index)

    def _dosesAsChosen(self, index: int) -> None:
        self._choose("dosesAs", self.ui.dosesAsSelector, index)

    def _guardChosen(self, index: int) -> None:
        self._choose("guard", self.ui.guardSelector, index)

    def _describe(self) -> None:
        entry = self.bundle()
        self.ui.bundleLabel.text = "" if entry is None else entry.problem or entry.description
        doses = entry.doses if entry is not None else ()
        every = ", ".join(dose_label(dose) for dose in doses)
        self.ui.dosesEdit.placeholderText = _("all: {doses}").format(doses=every) if every else _("all")
        stays = _("Only models that you have added can be removed; this one came with MAPDiff.")
        allow(self.ui.removeBundleButton, "" if entry is not None and entry.own else stays)

    def _folded(self, folded: bool) -> None:
        """Devices are asked for when somebody looks for them, not before."""
        if not folded:
            self.probe.ask()

    def _devicesKnown(self, facts: dict) -> None:
        self._facts = facts
        if self._parameters is not None:
            self._fill(self.ui.deviceSelector, self._deviceEntries(), self._parameters.device)

    def _addBundle(self) -> None:
        folder = qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), _("Folder of a model bundle"))
        if folder:
            with slicer.util.tryWithErrorDisplay(_("The model was not added."), waitCursor=True):
                self._parameters.bundle = bundles.addBundle(str(folder)).name
                self.refresh()
                self._onChange()

    def _openFolder(self) -> None:
        bundles.userFolder().mkdir(parents=True, exist_ok=True)
        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(bundles.userFolder())))

    def _removeBundle(self) -> None:
        entry = self.bundle()
        if entry is None or not slicer.util.confirmYesNoDisplay(
            _("Delete the model {name} and its folder {folder}?").format(name=entry.name, folder=entry.folder)
        ):
            return
        with slicer.util.tryWithErrorDisplay(_("The model was not removed."), waitCursor=True):
            bundles.removeBundle(entry)
            self._parameters.bundle = DEFAULT_BUNDLE
            self.refresh()
            self._onChange()
