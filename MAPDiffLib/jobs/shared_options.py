"""Options that several commands of mapdiff and mapdiff-train have, each declared once.

`add` is the add_argument of a parser or of one of its groups.
"""

from __future__ import annotations

from MAPDiffLib.job import DEFAULT_BUNDLE, PRECISIONS


def add_bundle(add) -> None:
    """--bundle: which model."""
    add("--bundle", default=DEFAULT_BUNDLE, metavar="DIR", help="name or folder of a model bundle")


def add_samples(add) -> None:
    """--samples: how many are averaged."""
    add("--samples", type=int, metavar="N", help="samples to average (default: the bundle's)")


def add_device(add) -> None:
    """--device: where it is computed."""
    add("--device", default="auto", metavar="NAME", help="auto, cpu, cuda or cuda:0")


def add_precision(add) -> None:
    """--precision: of the numbers inside the network."""
    add("--precision", default="auto", choices=PRECISIONS, help="of the network")


def add_scheduler(add) -> None:
    """--scheduler: the Dask cluster that does the work."""
    add("--scheduler", metavar="ADDRESS", help="Dask scheduler whose workers do the work, or its file (default: none)")


def add_jobs(add, of: str) -> None:
    """--jobs: how many are done at a time; `of`: of what, in the plural."""
    add("--jobs", type=int, default=1, metavar="N", help=f"{of} at a time")
