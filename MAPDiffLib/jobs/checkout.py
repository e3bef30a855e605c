"""mapdiff-train where this package lies in a checkout: training and bench lie beside it there, and in no wheel."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from MAPDiffLib.job import EXIT_BAD_INPUT

CHECKOUT = Path(__file__).resolve().parents[2]


def train() -> int:
    """Runs mapdiff-train and returns its exit code: 2 where there is no checkout."""
    if not (CHECKOUT / "training" / "__main__.py").is_file():
        print(
            f"mapdiff-train: {CHECKOUT} holds no training: it runs from a checkout alone. Clone the repository and "
            "run pip install -e '.[demo,train]' in it.",
            file=sys.stderr,
        )
        return EXIT_BAD_INPUT
    sys.path.insert(0, str(CHECKOUT))
    return importlib.import_module("training.__main__").main()
