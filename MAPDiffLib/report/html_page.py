"""A restoration as one HTML file that opens in any browser without a network: pictures, numbers, the run report.

The volumes travel in it at display precision: 16-bit values in steps of a part of the window, in voxels of the scan or,
for large scans, of several of them. The numbers in its table are those of the full-precision run.
"""

from __future__ import annotations

import base64
import gzip
import html
import json
import math
import re
import tempfile
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from MAPDiffLib.errors import InputError
from MAPDiffLib.files import write_text
from MAPDiffLib.job import counts_label, dose_key, dose_title, input_dose_label
from MAPDiffLib.report.figure import window_top
from MAPDiffLib.report.page_tables import crosshairs, place_rows, region_rows
from MAPDiffLib.report.region_statistics import scan_scale
from MAPDiffLib.scan.itk import alone_with_itk
from MAPDiffLib.scan.volume import Volume, read_volume

WEB = Path(__file__).parent / "web"
SIZE_LIMIT = 24_000_000  # bytes of the file
MOST_VOXELS = 6_000_000  # of a volume in it: a browser holds each dose twice
LEVELS = (512, 256, 128)  # grey levels within the window, tried in this order until the file is small enough
NIFTI_HEADER = 352  # bytes before the voxels


def write_html(report_path: Path, path: Path) -> Path:
    """Puts a report.json and the volumes that it names into one HTML file, written whole; returns `path`.

    InputError or OSError for results that cannot be read, OSError for a file that cannot be written.
    """
    report = json.loads(report_path.read_text(encoding="utf-8"))
    scan = read_volume(report["job"]["input"])
    factor, unit = scan_scale(scan)
    top = window_top(scan) * factor
    shrink = math.ceil((scan.voxels.size / MOST_VOXELS) ** (1 / 3))
    names = [entry["file"] for entry in shown_files(report)]
    names += [report["uncertainty_file"]] if report["uncertainty_file"] else []
    images = [_upright(scan, factor, shrink)]
    images += [_upright(read_volume(report_path.parent / name), factor, shrink) for name in names]
    parts = {
        "title": html.escape(f"{Path(report['job']['input']).name}, restored from {_dose(report)}"),
        "notice": html.escape(report["notice"]),
        "unit": html.escape(unit),
        "rows": _rows(report, factor),
        "places": place_rows(report, factor, html.escape(unit)),
        "regions": region_rows(report_path.parent),
        "facts": _facts(report),
        "json": html.escape(json.dumps(report, indent=2)),
        "niivue": _file("niivue.umd.js"),
        "viewer": _file("viewer.js"),
    }
    room = SIZE_LIMIT - sum(map(len, parts.values()))
    step, volumes = _encoded([sitk.GetArrayViewFromImage(image) for image in images], top, room, path)
    parts["about"] = html.escape(_about(report, images[0], shrink, step, unit))
    parts["setting"] = _inside_script(json.dumps(_setting(report, images, top, step)))
    parts["volumes"] = "\n".join(
        f'<script type="text/plain" id="volume-{index}">{text}</script>' for index, text in enumerate(volumes)
    )
    page = re.sub(r"\{\{(\w+)\}\}", lambda place: parts[place[1]], _file("report.html"))
    return write_text(page, path, errors="backslashreplace")


def _file(name: str) -> str:
    return (WEB / name).read_text(encoding="utf-8")


def _upright(volume: Volume, factor: float, shrink: int) -> sitk.Image:
    """Axes to the patient's right, front and head (NIfTI's order), means of `shrink` voxels along each, scaled."""
    image = sitk.GetImageFromArray(volume.voxels * np.float32(factor))
    image.SetSpacing(volume.spacing_mm)
    image.SetOrigin(volume.origin_mm)
    image.SetDirection(volume.direction)
    if shrink > 1:
        image = sitk.BinShrink(image, [min(shrink, size) for size in image.GetSize()])
    return sitk.DICOMOrient(image, "RAS")


def _encoded(arrays: list[np.ndarray], top: float, room: int, path: Path) -> tuple[float, list[str]]:
    """The step of the values and each volume as text: base64 of gzip of the 16-bit values' low bytes, then high bytes.

    InputError where even the coarsest step does not fit into `room` characters.
    """
    for levels in LEVELS:
        step = top / levels
        volumes = []
        for array in arrays:
            values = np.clip(np.rint(array / step), -32767, 32767).astype("<i2")
            planes = np.ascontiguousarray(values.reshape(-1).view(np.uint8).reshape(-1, 2).T)
            volumes.append(base64.b64encode(gzip.compress(planes.tobytes(), 3, mtime=0)).decode("ascii"))
        if sum(map(len, volumes)) <= room:
            return step, volumes
    raise InputError(
        f"{path} would have more than {SIZE_LIMIT / 1e6:.0f} MB with its {len(arrays)} volumes: restore fewer "
        "--doses, or leave --report out."
    )


def _setting(report: dict, images: list[sitk.Image], top: float, step: float) -> dict:
    """What viewer.js needs to know of the volumes."""
    first, doses = images[0], [{"label": "input", "dose": report["input"]["dose_used"]}]
    for entry in shown_files(report):
        doses.append({"label": dose_title(entry["dose"], entry["as"] == "scan"), "dose": entry["dose"]})
    return {
        "size": list(first.GetSize()),
        "spacing": list(first.GetSpacing()),
        "header": _nifti_header(first, step),
        "window": [0, top],
        "step": step,
        "stops": doses,
        "volumes": len(images),
        "uncertainty": bool(report["uncertainty_file"]),
        "places": crosshairs(report, first),
    }


def shown_files(report: dict) -> list[dict]:
    """The entries of the files that a page shows: the means, where there are both means and drawn scans."""
    means = [entry for entry in report["files"] if entry["as"] == "mean"]
    return means or report["files"]


def _nifti_header(image: sitk.Image, step: float) -> str:
    """The header of the 16-bit volumes in base64, with their step as its slope."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "header.nii"
        with alone_with_itk():
            sitk.WriteImage(sitk.Cast(image, sitk.sitkInt16), str(path))
        header = bytearray(path.read_bytes()[:NIFTI_HEADER])
    header[112:120] = np.array([step, 0], "<f4").tobytes()  # scl_slope, scl_inter
    return base64.b64encode(header).decode("ascii")


def _rows(report: dict, factor: float) -> str:
    """The table of the doses; the column of the crosshair is filled in by viewer.js."""
    rows = [["input", report["input"]["mean_in_body"], None, None, None]]
    for entry in shown_files(report):
        dose, drawn = entry["dose"], entry["as"] == "scan"
        figures = report["doses"][dose_key(dose, drawn)]
        counts = counts_label(dose, report["input"]["dose_used"])
        label = f"{entry['label']}{' scan' if drawn else ''} ({counts})"
        rows.append([label, *(figures[name] for name in ("mean_in_body", "noise", "guard_drift", "seconds"))])
    lines = []
    for label, mean, noise, drift, seconds in rows:
        cells = [
            f"{mean * factor:.4g}",
            "" if noise is None else f"{noise:.2%}",
            "" if drift is None else f"{drift:+.2%}",
            "" if seconds is None else f"{seconds:.1f}",
        ]
        numbers = "".join(f"<td>{cell}</td>" for cell in cells)
        lines.append(f'<tr><td>{html.escape(label)}</td><td class="here"></td>{numbers}</tr>')
    if report["uncertainty_file"]:
        lines.append('<tr><td>uncertainty (1 SD)</td><td class="here"></td><td></td><td></td><td></td><td></td></tr>')
    return "\n".join(lines)


def _facts(report: dict) -> str:
    found = report["input"]
    facts = {
        "scan": " x ".join(str(size) for size in reversed(found["shape_zyx"]))
        + " voxels of "
        + " x ".join(f"{spacing:.3g}" for spacing in found["spacing_mm"])
        + f" mm, units {found['units']}",
        "scanner": " ".join(found["metadata"].get(name, "") for name in ("manufacturer", "model")),
        "dose of the input": _dose(report) + (f"; {found['dose_hint']}" if found["dose_hint"] else ""),
        "SUV factor": found["metadata"].get("suv_factor") or found["metadata"].get("suv_refused", ""),
        "warnings": " ".join(report["warnings"]),
        "model": f"{report['bundle']['name']}, sha256 {report['bundle']['sha256']}",
        "sampling": f"{report['sampling']['samples']} samples, strength {report['sampling']['strength']:g}, "
        f"seed {report['sampling']['seed']}",
        "computed on": f"{report['device']}, {report['precision']}, {sum(report['seconds'].values()):.1f} s",
        "versions": f"MAPDiff {report['mapdiff']}, torch {report['torch']}",
    }
    filled = {name: text for name, text in facts.items() if text.strip()}
    return "\n".join(f"<tr><td>{name}</td><td>{html.escape(text)}</td></tr>" for name, text in filled.items())


def _about(report: dict, image: sitk.Image, shrink: int, step: float, unit: str) -> str:
    size = " x ".join(map(str, image.GetSize()))
    grid = f"means of {shrink} x {shrink} x {shrink} voxels, {size} in all" if shrink > 1 else f"all {size} voxels"
    return (
        f"The pictures show {grid}, in steps of {step:.2g} {unit}; the file is kept under {SIZE_LIMIT / 1e6:.0f} MB. "
        "The means, the noise and the drift are of the run itself, at full precision."
        + (" The drawn scans lie beside this page." if len(shown_files(report)) < len(report["files"]) else "")
    )


def _dose(report: dict) -> str:
    return input_dose_label(report["input"]["dose_used"], report["input"]["dose_assumed"])


def _inside_script(text: str) -> str:
    """JSON that cannot end the element that it stands in."""
    return text.replace("<", "\\u003c")
