"""Anybody's method in the table: a command that reads a low-dose NIfTI file and writes the restored full dose."""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from MAPDiffLib.errors import InputError
from MAPDiffLib.scan.volume import Volume, read_volume, write_volume
from training.evaluation.cost import max_rss_bytes
from training.evaluation.method import Result
from training.scores.doses import with_mixes


@dataclass(frozen=True)
class Command:
    """A command line with {input} and {output}, paths of .nii.gz files in SUV on one grid, and {dose} where wanted.

    InputError when it fails, writes nothing, or writes another grid: with what was run and the end of what it said.
    """

    text: str

    def __post_init__(self):
        for needed in ("{input}", "{output}"):
            if needed not in self.text:
                raise InputError(f"method {self.text!r} lacks {needed}; give NAME='your-denoiser {{input}} {{output}}'")

    def __call__(self, scan: Volume, dose: float) -> Result:
        with tempfile.TemporaryDirectory(prefix="mapdiff-table-") as name:
            folder = Path(name)
            given, made = folder / "input.nii.gz", folder / "output.nii.gz"
            write_volume(scan, given)
            values = {"{input}": str(given), "{output}": str(made), "{dose}": f"{dose:g}"}
            peak_gb = self._run(values, folder / "log")
            if not made.exists():
                raise InputError(f"method {self.text!r} wrote no {{output}}")
            full = read_volume(made)
        if full.voxels.shape != scan.voxels.shape:
            raise InputError(f"method {self.text!r} wrote {full.voxels.shape}; the scan is {scan.voxels.shape}")
        return Result(with_mixes(scan.voxels, dose, full.voxels), peak_gb=peak_gb)

    def _run(self, values: dict[str, str], log: Path) -> float:
        """Run it to its end; the most memory it had, in GB."""
        words = shlex.split(self.text)
        for name, value in values.items():
            words = [word.replace(name, value) for word in words]
        with log.open("wb") as file:
            try:
                process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT)
            except OSError as error:
                raise InputError(f"method {self.text!r} cannot be run: {error}") from None
            _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said = log.read_text(errors="replace").strip()[-600:]
            raise InputError(f"method {self.text!r} ended with {process.returncode}: {said}")
        return max_rss_bytes(usage) / 1e9
