"""Tables of a result's page: the places to check, which a click goes to, and the regions that were measured."""

from __future__ import annotations

import html
import json
from pathlib import Path

import SimpleITK as sitk

from MAPDiffLib.report.region_statistics import BEST, JSON_FILE


def place_rows(report: dict, factor: float, unit: str) -> str:
    """The section of the places to check: a row each, in the order of `crosshairs`."""
    if not report["places"]:
        return "<p>None: nowhere is a loss likely enough.</p>"
    lines = [
        f'<tr tabindex="0"><td>{" ".join(f"{x:.0f}" for x in place["position_mm_lps"])}</td><td>{place["z"]:+.1f}</td>'
        f"<td>{_likely(place)}</td>"
        f"<td>{place['scan'] * factor:.3g}</td><td>{place['restored'] * factor:.3g}</td></tr>"
        for place in report["places"]
    ]
    head = f"<th>place (LPS, mm)</th><th>z</th><th>likely lost</th><th>scan ({unit})</th><th>full dose ({unit})</th>"
    return f'<table id="places"><thead><tr>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table>'


def _likely(place: dict) -> str:
    """How likely something was lost; earlier versions did not say it."""
    return f"{100 * place['probability']:.0f} %" if "probability" in place else "-"


def crosshairs(report: dict, image: sitk.Image) -> list[list[float]]:
    """The places as shares of the page's image along its axes, 0 to 1."""
    found = []
    for place in report["places"]:
        index = image.TransformPhysicalPointToContinuousIndex(place["position_mm_lps"])
        found.append([min(1.0, max(0.0, (i + 0.5) / n)) for i, n in zip(index, image.GetSize(), strict=True)])
    return found


def region_rows(folder: Path) -> str:
    """The section of the regions that `mapdiff measure` left in the folder; "" where it left none."""
    if not (folder / JSON_FILE).is_file():
        return ""
    rows = json.loads((folder / JSON_FILE).read_text(encoding="utf-8"))["rows"]
    lines = []
    for row in rows:
        interval = f"{row['mean_low']:.3g} to {row['mean_high']:.3g}" if row["mean_low"] != "" else ""
        numbers = [
            "" if row[name] == "" else f"{row[name]:.3g}" for name in ("mean", "max", "peak", "volume_ml", "tlg")
        ]
        cells = [row["region"], row["image"], *numbers, interval, row["warning"]]
        kind = ' class="shown"' if row["image"] == BEST else ""
        lines.append(f"<tr{kind}>{''.join(f'<td>{html.escape(cell)}</td>' for cell in cells)}</tr>")
    names = ("region", "image", "mean", "max", "peak", "mL", "TLG", "90 % of the mean", "")
    head = "".join(f"<th>{name}</th>" for name in names)
    title = f"<h2>Regions ({html.escape(rows[0]['unit'])})</h2>"
    return f"{title}<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"
