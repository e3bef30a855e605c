"""Figures of several panels: made without a window system, written whole."""

from __future__ import annotations

from pathlib import Path

from MAPDiffLib.files import written_whole


def panels(rows: int, columns: int, size: tuple[float, float], layout: str | None = None, **shared):
    """(a figure of `size` inches, its axes [rows, columns]); shared: sharex, sharey."""
    from matplotlib.figure import Figure  # not pyplot: no window system, no global state

    figure = Figure(figsize=size, layout=layout)
    return figure, figure.subplots(rows, columns, squeeze=False, **shared)


def write_picture(figure, path: Path, dpi: int = 110, **how) -> None:
    """A PNG, without the name of what wrote it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as partial:
        figure.savefig(partial, dpi=dpi, metadata={"Software": None}, **how)
