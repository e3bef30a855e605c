"""The documentation's figures over the dose of the input, a panel per group of scanners: the error, and the real dose
that a restored scan is worth."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from MAPDiffLib.restoration.doses import dose_label, parse_dose
from training.evaluation.pictures import panels, write_picture
from training.evaluation.results import GROUPS, ROWS, SHOWN_DOSE, best, known_groups
from training.evaluation.summary import OURS
from training.evaluation.worth import BETTER, FIGURES, real_scans, worth, worth_dose

STYLES = (
    {"color": "0.45", "marker": "o"},
    {"color": "tab:orange", "marker": "s"},
    {"color": "tab:green", "marker": "^"},
    {"color": "tab:purple", "marker": "v"},
    {"color": "tab:blue", "marker": "D", "markersize": 8, "fillstyle": "none"},
    {"color": "tab:red", "marker": "o", "linewidth": 2.2},
)
ERRORS = (0.03, 0.05, 0.1, 0.2, 0.5)


def draw_results(results: dict, path: Path) -> None:
    """NMAE of the full dose, a line per method."""
    _draw(results, path, "error of full dose (NMAE)", _errors)


def draw_worth(results: dict, path: Path) -> None:
    """The real dose that a restored scan is worth, a line per figure; an arrow where it is better than the best real
    scan that it was set beside."""
    _draw(results, path, "worth a real scan of", _worths)


def _draw(results: dict, path: Path, label: str, draw: Callable[[object, dict], None]) -> None:
    groups = known_groups(results)
    figure, axes = panels(1, len(groups), (3.6 * len(groups), 3.6), sharey=True)
    for axis, (group, doses) in zip(axes.flat, groups.items(), strict=True):
        axis.set(xscale="log", yscale="log", title=GROUPS[group], xlabel="dose of the input")
        draw(axis, doses)
        fractions = sorted(parse_dose(dose) for dose in doses)
        axis.set_xticks(fractions, [dose_label(dose) for dose in fractions])
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    axes.flat[0].set_ylabel(label)
    axes.flat[-1].legend(fontsize=8)
    figure.tight_layout()
    write_picture(figure, path)


def _errors(axis, doses: dict) -> None:
    for (label, begins), style in zip(ROWS.items(), STYLES, strict=True):
        found = ((parse_dose(dose), best(methods, begins)) for dose, methods in doses.items())
        points = sorted((dose, figures["nmae"]["mean"]) for dose, figures in found if figures)
        if points:
            axis.plot(*zip(*points, strict=True), label=label.replace("*", ""), **{"markersize": 5, **style})
    axis.set_yticks(ERRORS, [f"{error:g}" for error in ERRORS])
    ours = best(doses.get(SHOWN_DOSE, {}), OURS)
    if ours and len(doses) > 1:
        _worth(axis, doses, ours["nmae"]["mean"])


def _worth(axis, doses: dict, error: float) -> None:
    """A line from what is restored of SHOWN_DOSE to the real scan with as much error."""
    axis.axhline(error, color="tab:red", linewidth=0.8, linestyle=":")
    text = f"restored from {SHOWN_DOSE}: as near\nas a real scan of {worth(doses, error)}"
    # Errors fall with the dose: the corner is free.
    axis.text(0.97, 0.96, text, transform=axis.transAxes, fontsize=8, color="tab:red", ha="right", va="top")


def _worths(axis, doses: dict) -> None:
    fractions = sorted(parse_dose(dose) for dose in doses)
    axis.plot(fractions, fractions, color="0.6", linestyle=":", label="the scan itself")
    for (name, measure), style in zip(FIGURES.items(), STYLES[1:], strict=False):
        found = [(parse_dose(dose), measure(best(methods, OURS))) for dose, methods in doses.items()]
        points = [(dose, worth_dose(doses, value, measure)) for dose, value in sorted(found) if value]
        limit = max((dose for _, dose in real_scans(doses, measure)), default=1.0)
        shown = [(dose, min(real, limit)) for dose, real in points if real]
        if shown:
            (line,) = axis.plot(*zip(*shown, strict=True), label=name, **{"markersize": 5, **style})
        for dose in (dose for dose, real in points if real == BETTER):
            arrow = {"arrowstyle": "->", "color": line.get_color()}
            axis.annotate("", (dose, 1.5 * limit), (dose, limit), arrowprops=arrow)
    axis.set_yticks([0.01, 0.05, 0.1, 0.25, 1], ["1/100", "1/20", "1/10", "1/4", "full"])
