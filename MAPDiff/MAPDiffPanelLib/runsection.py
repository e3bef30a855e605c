"""The middle of the panel: the button, the bar, the status line and its details, for a run and for first use."""

from __future__ import annotations

from collections.abc import Callable

import slicer
from slicer.i18n import tr as _

from MAPDiffPanelLib import install
from MAPDiffPanelLib.run import CANCELLED, FAILED, Listener

PROGRESS_STEPS = 1000


class RunSection(Listener):
    """Starts, shows and stops what takes long.

    request() -> (volume node, fields of MAPDiffLib.job.Job), None while there is no panel to ask; onStarted(),
    onArrived(dose, node) and onEnded() tell the rest of the panel.
    """

    def __init__(self, ui, logic, request: Callable[[], tuple], onStarted: Callable, onArrived: Callable,
                 onEnded: Callable):  # fmt: skip
        self.ui, self._logic, self._request = ui, logic, request
        self._onStarted, self._onArrived, self._onEnded = onStarted, onArrived, onEnded
        self._warnings: list[str] = []
        self._failed = False
        self.installation = install.Installation(self._installing, self._installed)
        ui.detailsText.visible = False
        ui.progressBar.maximum = PROGRESS_STEPS
        ui.denoiseButton.connect("clicked()", self._pressed)
        ui.detailsButton.connect("toggled(bool)", self._detailsToggled)
        self.say("")

    @property
    def busy(self) -> bool:
        """Whether a press would stop something."""
        return self._logic.running or self.installation.running

    def allow(self, reason: str) -> None:
        """Greys the button with `reason`, or enables it."""
        if not self.busy:
            self.ui.denoiseButton.text = _("Try again") if self._failed else _("Denoise")
            self.ui.denoiseButton.enabled = not reason
            self.ui.denoiseButton.toolTip = reason or _("Restore this scan; each dose appears as a volume of its own.")

    def say(self, message: str, details: str = "") -> None:
        """One sentence under the bar; what only helps a helper is folded."""
        self.ui.statusLabel.text = "\n".join([message, *self._warnings[-1:]])
        self.ui.detailsText.setPlainText(details)
        self.ui.detailsButton.enabled = bool(details)
        if not details:
            self.ui.detailsButton.checked = False

    def stopNow(self) -> None:
        """For quitting and reloading."""
        self.installation.stopNow()
        self._logic.stopNow()

    def _pressed(self) -> None:
        if self.busy:
            self._stop()
            return
        with slicer.util.tryWithErrorDisplay(_("MAPDiff could not start."), waitCursor=False):
            self._warnings, self._failed = [], False
            if self._ready():
                self._start()

    def _stop(self) -> None:
        self.ui.denoiseButton.enabled = False
        self.ui.denoiseButton.toolTip = _("It is being stopped.")
        self.installation.cancel()
        self._logic.cancel()

    def _ready(self) -> bool:
        """True when the worker's packages are there; else they are asked for, and installed where the user agrees."""
        try:
            missing = install.missingPackages()
            asked = install.question(missing) if missing else ""
        except install.InstallError as error:
            self._installed(str(error), "")
            return False
        if asked and slicer.util.confirmOkCancelDisplay(asked, _("MAPDiff: first use")):
            self._showCancel(_("Stop the installation."))
            self.installation.start(missing)
        return not asked

    def _start(self) -> None:
        request = self._request()
        if request is None:  # another module was opened while packages were installed
            self.say(_("Everything is installed: press Denoise."))
            self._onEnded()
            return
        self._onStarted()
        self._logic.startRun(*request, self)
        self._showCancel(_("Stop this run; the doses that have arrived stay."))

    def _showCancel(self, toolTip: str) -> None:
        self.ui.denoiseButton.text = _("Cancel")
        self.ui.denoiseButton.toolTip = toolTip

    def _installing(self, share, text: str) -> None:
        self.ui.progressBar.value = round(PROGRESS_STEPS * (share or 0))
        if text:
            self.say(_("Installing: {text}").format(text=text[:100]))

    def _installed(self, message: str, details: str) -> None:
        self.ui.progressBar.value = 0
        self.say(message, details)
        if message:
            self._failed = True
            self._onEnded()
        else:
            with slicer.util.tryWithErrorDisplay(_("MAPDiff could not start."), waitCursor=False):
                self._start()

    def _detailsToggled(self, shown: bool) -> None:
        self.ui.detailsText.visible = shown

    def onProgress(self, fraction: float, text: str) -> None:
        self.ui.progressBar.value = round(PROGRESS_STEPS * fraction)
        self.say(text)

    def onWarning(self, text: str) -> None:
        self._warnings.append(text)

    def onDose(self, dose: float, node) -> None:
        self._onArrived(dose, node)

    def onFinished(self, outcome: str, message: str, details: str) -> None:
        if outcome in (FAILED, CANCELLED):
            self.ui.progressBar.value = 0
        self.say(message, details)
        self._onEnded()
