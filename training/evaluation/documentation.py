"""docs/results.md, the README's and a model card's tables and the figures, written from docs/results.json."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from MAPDiffLib.files import write_text
from training.evaluation.results import (
    FIGURE,
    TRADEOFF_FIGURE,
    WORTH_FIGURE,
    between_markers,
    card_table,
    short_table,
    together,
)
from training.evaluation.results_figure import draw_results, draw_worth
from training.evaluation.results_page import results_page
from training.evaluation.tradeoff import draw_tradeoff


def write_results(root: Path, bundle: Path, fresh: Sequence[Path] = ()) -> list[Path]:
    """Write all that the documentation of a checkout says of results; returns the files.

    fresh: tables of `evaluate` that become docs/results.json first. bundle: a folder whose card shows its own scores.
    """
    source, card = root / "docs" / "results.json", bundle / "MODEL_CARD.md"
    if fresh:
        tables = [json.loads(path.read_text(encoding="utf-8")) for path in fresh]
        write_text(json.dumps(together(tables), indent=1) + "\n", source)
    results = json.loads(source.read_text(encoding="utf-8"))
    manifest = json.loads((bundle / "bundle.json").read_text(encoding="utf-8"))
    page, readme, figure = root / "docs/results.md", root / "README.md", root / FIGURE
    write_text(results_page(results), page)
    for path, block in ((readme, short_table(results)), (card, card_table(manifest))):
        text = path.read_text(encoding="utf-8")
        write_text(between_markers(text, block, str(path)), path)
    draw_results(results, figure)
    draw_worth(results, root / WORTH_FIGURE)
    drawn = [root / TRADEOFF_FIGURE] if draw_tradeoff(results, root / TRADEOFF_FIGURE) else []
    return [page, readme, card, figure, root / WORTH_FIGURE, *drawn]
