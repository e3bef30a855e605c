"""The folders that pass voxels to the worker: for this user alone, and swept when their Slicer has died."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from Testing.slicer import standin
from Testing.slicer.panel import leftovers, load_parts

pytest_plugins = ["Testing.slicer.fixtures"]
PROJECT = Path(__file__).parents[2]

# A Slicer that is killed with a folder in its hands.
OWNER = """
import sys, time
from Testing.slicer import standin
placed = standin.install()
placed.load_module("MAPDiff/MAPDiff.py")
from MAPDiffPanelLib import job_folder
job_folder.temporaryPath = lambda: sys.argv[1]
folder = job_folder.JobFolder()
print(folder.path, flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows gives the user's own temporary folder its own access list")
def test_a_job_folder_is_private_to_the_user(panel):
    panel.ui.denoiseButton.click()
    assert os.stat(panel.logic.run._folder).st_mode & 0o777 == 0o700


def test_a_killed_slicers_folder_is_swept_at_the_next_start_and_a_living_ones_stays(application, monkeypatch, bundles):
    import slicer

    load_parts(application, monkeypatch, bundles)
    from MAPDiffPanelLib import job_folder

    place = slicer.app.temporaryPath
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, place], cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    folder = Path(owner.stdout.readline().strip())
    (folder / "input.nrrd").write_text("voxels of a patient")
    mine = job_folder.JobFolder()
    assert job_folder.sweep() == [] and folder.is_dir()
    owner.kill()
    owner.wait()
    owner.stdin.close()
    owner.stdout.close()
    application._application.emit("startupCompleted")
    assert leftovers(application) == [Path(mine.path).name]
    mine.remove()
    assert leftovers(application) == []


def test_a_folder_without_an_owner_is_swept_once_it_is_old(application, monkeypatch, bundles):
    import slicer

    load_parts(application, monkeypatch, bundles)
    from MAPDiffPanelLib import job_folder

    folder = Path(slicer.app.temporaryPath) / "MAPDiff-abc"
    folder.mkdir()
    assert job_folder.sweep() == [], "it may be in the making"
    os.utime(folder, (1e9, 1e9))
    assert job_folder.sweep() == ["MAPDiff-abc"] and not folder.exists()


@pytest.mark.parametrize("moment", ["writing the scan", "starting", "working"])
@pytest.mark.parametrize("end", ["scene closed", "module reloaded"])
def test_whenever_the_scene_is_closed_or_the_module_reloaded_nothing_is_left(panel, application, moment, end):
    import slicer

    from Testing.workers import alive

    panel._parameterNode.inputDose, panel._parameterNode.samples = "1/20", 64
    panel.ui.denoiseButton.click()
    run = panel.logic.run
    if moment != "writing the scan":
        assert standin.pump(lambda: run.processID)
    pid = run.processID
    if moment == "working":
        assert standin.pump(lambda: run.nodes)
    if end == "scene closed":
        application.scene.Clear(0)
    else:
        panel.onReload()
        slicer.modules.mapdiff.widgetRepresentation().self().cleanup()
    assert not run.running and not (pid and alive(pid)) and leftovers(application) == []
