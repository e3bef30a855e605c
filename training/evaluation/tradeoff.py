"""The trade between error and contrast: what is left of visible lesions against NMAE, each method a point."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from training.evaluation.pictures import panels, write_picture
from training.evaluation.results import GROUPS, NOVEMBER, ROWS, SHOWN_DOSE, known_groups
from training.evaluation.score import NOISE_FREE
from training.evaluation.summary import OURS

VISIBLE = "6-10"  # the class of SNR that a reader sees in the scan and smoothing takes
NON_LOCAL_MEANS, OTHERS = "non-local means", "other"


def tradeoff_points(methods: dict) -> dict[str, tuple[float, float]]:
    """{method: (NMAE of full dose, median contrast recovered in visible lesions)} of those where both are known."""
    return {
        name: (figures["nmae"]["mean"], figures["recovery"][VISIBLE]["median"])
        for name, figures in methods.items()
        if VISIBLE in figures.get("recovery", {}) and "nmae" in figures
    }


def draw_tradeoff(results: dict, path: Path) -> bool:
    """One panel per group of scanners, from SHOWN_DOSE. False where nothing is known of lesions, and nothing drawn."""
    points = {GROUPS[group]: tradeoff_points(doses[SHOWN_DOSE]) for group, doses in known_groups(results).items()}
    figure = tradeoff_figure(points)
    if figure is None:
        return False
    write_picture(figure, path)
    return True


def tradeoff_figure(points: dict[str, dict[str, tuple[float, float]]]):
    """{title of a panel: {method: (NMAE, contrast)}}; the settings of one method are joined. None without a point.

    Smoothing moves a point down and to the right of its least error; what is wanted lies up and to the left, where the
    noise-free image is, which no method knows.
    """
    points = {title: found for title, found in points.items() if found}
    if not points:
        return None
    figure, axes = panels(1, len(points), (3.6 * len(points), 4), layout="constrained", sharey=True)
    labels = {begins: label.partition(",")[0].replace("*", "") for label, begins in ROWS.items()}
    labels |= {name: name for name in (NON_LOCAL_MEANS, NOVEMBER, NOISE_FREE, OTHERS)}
    for axis, (title, found) in zip(axes.flat, points.items(), strict=True):
        for number, family in enumerate(labels):
            own = [point for name, point in found.items() if _family(name, labels) == family]
            if own:
                size = 9 if family == OURS else 5
                axis.plot(*zip(*own, strict=True), "o-", color=f"C{number}", markersize=size, linewidth=0.8,
                          label=labels[family])  # fmt: skip
        axis.axhline(1, color="0.6", linewidth=0.8, linestyle=":")
        axis.set(title=title, xlabel="NMAE of full dose", xscale="log")
        axis.minorticks_off()
        low, high = axis.get_xlim()
        ticks = [tick for tick in (0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5) if low <= tick <= high]
        axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axis.grid(alpha=0.3)
    axes[0, 0].set_ylabel(f"contrast recovered, lesions of SNR {VISIBLE}")
    shown = [zip(*axis.get_legend_handles_labels(), strict=True) for axis in axes.flat]
    handles = {label: handle for pairs in shown for handle, label in pairs}
    figure.legend(handles.values(), handles.keys(), fontsize=8, loc="outside lower center", ncols=len(handles))
    return figure


def _family(name: str, families: Iterable[str]) -> str:
    return next((begins for begins in families if name.startswith(begins)), OTHERS)
