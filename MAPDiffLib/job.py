"""A job and what is said about it: job.json, message lines, exit codes, file names, how a dose is written.

Standard library only: the panel imports this file alone, inside a process that must never load torch.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from fractions import Fraction
from pathlib import Path

from MAPDiffLib.errors import InputError

EXIT_DONE, EXIT_FAILED, EXIT_BAD_INPUT, EXIT_CANCELLED = 0, 1, 2, 3
MESSAGE_TYPES = ("status", "input", "progress", "dose", "warning", "error", "done")
FORMATS = ("nii.gz", "nrrd", "mha", "dicom")
PRECISIONS = ("auto", "float32", "bfloat16")
GUARDS = ("off", "normal", "strong")
DOSES_AS = ("mean", "scan", "both")
DEFAULT_BUNDLE = "mapdiff-base"
REPORT_FILE = "report.json"
RESEARCH_USE = "Research use only. Not for diagnosis."
STRENGTHS = (0.5, 4.0)  # times the noise measured that the network is told: from faithful to smooth
ASSUMED_DOSE = 0.05  # of a scan whose dose nobody says, unless its noise or the doses asked for speak against it
SMALLEST_DOSE = 0.001  # what the three decimals of a file name can tell apart


@dataclass(frozen=True)
class RestoreOptions:
    """What a user may choose of a restoration; None and "auto" leave the choice to the bundle and the scan. InputError
    for anything impossible.

    Doses are fractions of full dose. An `input_dose` of None is assumed to be 1/20 or near it, as every result says.
    `guard`: how readily lost local activity is put back. `doses_as`: each dose as the mean of its scans (the least
    error), as one scan with that dose's noise, drawn, or as both. `strength`: from 0.5, faithful, to 4, smooth.
    """

    doses: tuple[float, ...] | None = None
    input_dose: float | None = None
    device: str = "auto"
    precision: str = "auto"
    strength: float | None = None
    samples: int | None = None
    seed: int = 0
    tile: int | None = None
    gpu_memory_gb: float | None = None
    guard: str = "normal"
    doses_as: str = "mean"

    def __post_init__(self):
        if self.doses is not None:
            object.__setattr__(self, "doses", _checked_doses(self.doses))
        if self.input_dose is not None:
            _check_dose("input_dose", self.input_dose)
        _check_text("device", self.device)
        if not re.fullmatch(r"auto|cpu|cuda(:\d{1,3})?", self.device):
            raise InputError(f"device is {self.device!r}; auto, cpu, cuda or cuda:0 (its number) is needed")
        _check_choice("precision", self.precision, PRECISIONS)
        _check_choice("guard", self.guard, GUARDS)
        _check_choice("doses_as", self.doses_as, DOSES_AS)
        _check_memory("gpu_memory_gb", self.gpu_memory_gb)
        _check_strength("strength", self.strength)
        _check_whole("samples", self.samples, 1, 64)
        _check_whole("tile", self.tile, 16, 1024)
        if self.seed is None:
            raise InputError("seed is missing; a whole number is needed")
        _check_whole("seed", self.seed, 0, 2**31 - 1)


@dataclass(frozen=True, kw_only=True)
class Job(RestoreOptions):
    """What to restore and how: the options of a restoration, and what they are for. InputError as there.

    `input` is a volume file or a folder of DICOM slices, `output` a folder.
    """

    input: str
    output: str
    bundle: str = DEFAULT_BUNDLE
    format: str | None = None
    overwrite: bool = False

    def __post_init__(self):
        for name in ("input", "output", "bundle"):
            _check_text(name, getattr(self, name))
        super().__post_init__()
        _check_choice("format", self.format, (None, *FORMATS))
        _check_choice("overwrite", self.overwrite, (False, True))

    @property
    def extension(self) -> str:
        """Of the files to write, with its dot: `format`, else the input's own, else NIfTI. DICOM: "", for folders."""
        if self.format == "dicom":
            return ""
        return "." + self.format if self.format else own_extension(self.input)

    def to_dict(self) -> dict:
        """What job.json holds."""
        return to_plain(asdict(self))


def read_job(path: str | os.PathLike) -> Job:
    """The Job in a job.json; relative paths in it are relative to its folder. InputError names what is wrong."""
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"the job file {path} cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"the job file {path} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise InputError(f"the job file {path} holds {type(content).__name__}; one JSON object is needed")
    known = {field.name for field in fields(Job)}
    if unknown := sorted(set(content) - known):
        raise InputError(f"the job file {path} has unknown keys {unknown}; known are {sorted(known)}")
    if missing := sorted({"input", "output"} - set(content)):
        raise InputError(f"the job file {path} lacks {missing}")
    for name in ("input", "output"):
        _check_text(name, content[name])
        content[name] = os.path.join(path.parent, content[name])  # an absolute path stays as it is
    return Job(**content)


def write_job(job: Job, path: str | os.PathLike) -> Path:
    """job.json for `read_job`; the folder must exist."""
    path = Path(path)
    path.write_text(json.dumps(job.to_dict(), indent=2) + "\n", encoding="utf-8")
    return path


def encode_message(message: Mapping) -> str:
    """One line of ASCII JSON with its line end; what JSON cannot say (nan, inf) becomes null."""
    assert message.get("type") in MESSAGE_TYPES, f"unknown message type in {message}"
    return json.dumps(to_plain(message), ensure_ascii=True, allow_nan=False) + "\n"


def decode_message(line: str | bytes) -> dict | None:
    """The message in a line, or None when the line is something else (a library's print: for the log)."""
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return message if isinstance(message, dict) and message.get("type") in MESSAGE_TYPES else None


def to_plain(value):
    """Tuples, paths and numpy numbers as JSON knows them; nan and inf as None."""
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(item) for item in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "tolist"):  # numpy scalars and arrays, without importing numpy
        return to_plain(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def own_extension(path: str | os.PathLike) -> str:
    """The extension of results for an input of this name: NRRD and MetaImage stay what they are, all else is NIfTI."""
    suffix = Path(path).suffix.lower()
    return {".nrrd": ".nrrd", ".nhdr": ".nrrd", ".mha": ".mha", ".mhd": ".mha"}.get(suffix, ".nii.gz")


def dose_file(dose: float, extension: str, drawn: bool = False) -> str:
    """0.1, ".nrrd" -> "dose-0.100.nrrd"; drawn as a scan "dose-0.100-scan.nrrd"."""
    return f"dose-{dose:.3f}{'-scan' if drawn else ''}{extension}"


def dose_key(dose: float, drawn: bool = False) -> str:
    """Of a dose's figures in report.json: "0.25", "0.25 scan"."""
    return f"{dose:g}{' scan' if drawn else ''}"


def dose_title(dose: float, drawn: bool = False) -> str:
    """ "1/4 dose", "1/4 dose scan": what a result shows, for people."""
    return f"{dose_label(dose)} dose{' scan' if drawn else ''}"


def uncertainty_file(extension: str) -> str:
    """The file name beside the doses: ".nrrd" -> "uncertainty.nrrd"."""
    return f"uncertainty{extension}"


def consistency_file(extension: str) -> str:
    """The map of z beside the doses; NIfTI beside DICOM, which has no word for it."""
    return f"consistency{extension or '.nii.gz'}"


def is_result_file(name: str, extension: str) -> bool:
    """Whether a job with this extension could write a file of this name."""
    dose = re.fullmatch(r"dose-[01]\.\d{3}(-scan)?" + re.escape(extension), name)
    return bool(dose) or name in (uncertainty_file(extension), consistency_file(extension), REPORT_FILE)


def dose_label(dose: float) -> str:
    """0.25 -> "1/4", 1.0 -> "full": how a dose is written everywhere."""
    fraction = Fraction(dose).limit_denominator(1000) or Fraction(1, round(1 / dose))
    return "full" if fraction == 1 else f"{fraction.numerator}/{fraction.denominator}"


def input_dose_label(dose: float, assumed: bool) -> str:
    """The input's dose as a person reads it: 0.05 -> "1/20 dose", or "1/20 dose (assumed)" where nobody said it."""
    return f"{dose_label(dose)} dose" + (" (assumed)" if assumed else "")


def counts_label(dose: float, input_dose: float) -> str:
    """A dose as a multiple of the scan's own counts: 0.25 from 0.05 -> "5 x the scan's counts"."""
    return f"{dose / input_dose:.3g} x the scan's counts"


def parse_dose(text: str | float) -> float:
    """ "1/4", "0.25", "full" -> 0.25, 0.25, 1.0. InputError for anything outside (0, 1]."""
    try:
        dose = 1.0 if text == "full" else float(Fraction(text))
    except (ValueError, ZeroDivisionError, OverflowError, TypeError):
        dose = math.nan
    if not 0 < dose <= 1:
        raise InputError(f"dose is {text!r}; a fraction of full dose in (0, 1] is needed, like 0.25 or 1/4")
    return dose


def parse_doses(text: str) -> tuple[float, ...]:
    """ "0.1,1/4,full" -> (0.1, 0.25, 1.0). InputError as `parse_dose`."""
    return tuple(parse_dose(part.strip()) for part in text.split(","))


def _checked_doses(doses) -> tuple[float, ...]:
    if not isinstance(doses, (list, tuple)) or not doses:
        raise InputError(f"doses are {doses!r}; a list of fractions of full dose, like [0.25, 1.0], is needed")
    for dose in doses:
        _check_dose("doses", dose)
    if len({dose_file(dose, "") for dose in doses}) < len(doses):
        raise InputError(f"doses are {list(doses)}; they must differ by at least {SMALLEST_DOSE}")
    return tuple(sorted(float(dose) for dose in doses))


def _check_dose(name: str, value) -> None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not SMALLEST_DOSE <= value <= 1:
        raise InputError(f"{name}: {value!r} is not a fraction of full dose from {SMALLEST_DOSE} to 1")


def _check_text(name: str, value) -> None:
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise InputError(f"{name} is {value!r}; a text is needed")


def _check_choice(name: str, value, choices: tuple) -> None:
    if not any(value is choice or (isinstance(value, str) and value == choice) for choice in choices):
        raise InputError(f"{name} is {value!r}; one of {', '.join(map(str, choices))} is needed")


def _check_whole(name: str, value, low: int, high: int) -> None:
    if value is None:
        return
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise InputError(f"{name} is {value!r}; a whole number from {low} to {high} is needed")


def _check_strength(name: str, value) -> None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if value is not None and not (number and STRENGTHS[0] <= value <= STRENGTHS[1]):
        raise InputError(f"{name} is {value!r}; {STRENGTHS[0]:g} (faithful) to {STRENGTHS[1]:g} (smooth) are needed")


def _check_memory(name: str, value) -> None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if value is not None and not (number and 1 <= value <= 1000):
        raise InputError(f"{name} is {value!r}; a number of gigabytes from 1 to 1000 is needed")
