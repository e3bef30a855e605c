"""The table as figures: error against input dose per scanner, intermediate doses beside the mix, lesions by size."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from MAPDiffLib.restoration.doses import parse_dose
from training.evaluation.pictures import panels, write_picture
from training.evaluation.score import REAL
from training.evaluation.summary import OURS
from training.evaluation.tradeoff import tradeoff_figure, tradeoff_points


def draw_figures(table: dict, records: list[dict], folder: Path) -> list[Path]:
    """Write doses.png, intermediate.png, lesions.png and recovery.png into `folder`; what has no data is not drawn."""
    drawn = []
    for name, draw in (
        ("doses", _by_dose), ("intermediate", _intermediate), ("lesions", _lesions), ("recovery", _recovery),
    ):  # fmt: skip
        figure = draw(table["means"], records)
        if figure is not None:
            drawn.append(folder / f"{name}.png")
            write_picture(figure, drawn[-1], dpi=130, bbox_inches="tight")
    return drawn


def _by_dose(means: dict, records: list[dict]):
    """NMAE and PSNR of the full dose against the input's dose: a column per scanner, a line per method."""
    figure, axes = panels(2, len(means), (5.2 * len(means), 7), sharex=True)
    for column, (scanner, doses) in enumerate(means.items()):
        methods = dict.fromkeys(name for figures in doses.values() for name in figures if name != REAL)
        every = [parse_dose(dose) for dose in doses]
        for row, (key, label) in enumerate((("nmae", "NMAE"), ("psnr", "PSNR in dB, peak SUV 20"))):
            axis = axes[row, column]
            for method in methods:
                points = sorted((parse_dose(dose), f[method][key]) for dose, f in doses.items() if method in f)
                middle = [p[1]["mean"] for p in points]
                spread = [[p[1]["mean"] - p[1]["low"] for p in points], [p[1]["high"] - p[1]["mean"] for p in points]]
                style = {"linewidth": 2.5, "zorder": 3} if method.startswith(OURS) else {"linewidth": 1}
                axis.errorbar([p[0] for p in points], middle, spread, marker="o", capsize=2, label=method, **style)
            axis.set(xscale="log", ylabel=label, title=scanner if row == 0 else "")
            axis.set_xlim(min(every) / 1.2, max(every) * 1.2)  # also where there is one dose
            axis.grid(alpha=0.3)
        axes[1, column].set_xlabel("dose of the input")
    axes[0, -1].legend(fontsize=7, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def _intermediate(means: dict, records: list[dict]):
    """NMAE of our restored doses and of the inverse-dose interpolation: a panel per scanner and input."""
    shown = [
        (f"{scanner}, from {dose}", method, figures["doses"])
        for scanner, doses in means.items()
        for dose, methods in doses.items()
        for method, figures in methods.items()
        if method.startswith(OURS) and len(figures["doses"]) > 1
    ]
    if not shown:
        return None
    columns = min(4, len(shown))
    rows = -(-len(shown) // columns)
    figure, axes = panels(rows, columns, (4.2 * columns, 3.4 * rows))
    for axis, (title, method, doses) in zip(axes.flat, shown, strict=False):
        x = [parse_dose(dose) for dose in doses]
        axis.plot(x, [d["interpolated_nmae"] for d in doses.values()], "s--", label="inverse-dose interpolation")
        axis.plot(x, [d["nmae"] for d in doses.values()], "o-", label=method)
        axis.set(xscale="log", title=title, xlabel="restored dose", ylabel="NMAE")
        axis.grid(alpha=0.3)
    axes.flat[0].legend(fontsize=7)
    for axis in axes.flat[len(shown) :]:
        axis.set_axis_off()
    figure.tight_layout()
    return figure


def _recovery(means: dict, records: list[dict]):
    """Contrast recovered in visible lesions against NMAE: a panel per scanner and input dose, a point per method."""
    points = {
        f"{scanner}, from {dose}": tradeoff_points(methods)
        for scanner, doses in means.items()
        for dose, methods in doses.items()
    }
    return tradeoff_figure(points)


def _lesions(means: dict, records: list[dict]):
    """Bias of SUVmean and SUVmax over the lesion's diameter, each lesion a point, input and our methods alone."""
    points = {}
    for record in records:
        if record["method"] == "input" or record["method"].startswith(OURS):
            points.setdefault(record["method"], []).extend(record["lesions"])
    if not any(points.values()):
        return None
    figure, axes = panels(1, 2, (10, 4), sharey=True)
    for axis, key in zip(axes.flat, ("mean", "max"), strict=True):
        for method, lesions in points.items():
            sizes = np.array([lesion["diameter_mm"] for lesion in lesions])
            axis.scatter(sizes, [100 * lesion[key] for lesion in lesions], s=12, alpha=0.6, label=method)
        axis.axhline(0, color="black", linewidth=0.7)
        axis.set(xlabel="lesion diameter in mm", title=f"SUV{key}", ylim=(-60, 60))
        axis.grid(alpha=0.3)
    axes.flat[0].set_ylabel("bias against the real full dose in %")
    axes.flat[0].legend(fontsize=7)
    return figure
