"""The options of `mapdiff-train evaluate`; light, since the command line knows them before it knows what to do."""

from __future__ import annotations

import argparse
from pathlib import Path

from MAPDiffLib.job import parse_doses

INPUT_DOSES = "1/100,1/50,1/20,1/10,1/4"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("--cases", type=Path, required=True, nargs="+", help="folders with test cases")
    parser.add_argument("--output", type=Path, required=True, help="folder; what was scored before is not done again")
    parser.add_argument("--input-doses", type=parse_doses, default=parse_doses(INPUT_DOSES), help=INPUT_DOSES)
    parser.add_argument("--bundle", action="append", help="a bundle's name or folder; may be repeated")
    parser.add_argument("--control", type=Path, help="bundle of the same network trained as one-pass regression")
    parser.add_argument(
        "--passes", type=int, nargs="*", default=[1, 8], help="mirrored passes, of the control and of a bundle's own"
    )
    parser.add_argument(
        "--rival", action="append", nargs="+", default=[], metavar=("FOLDER", "KEY=VALUE"),
        help="a trained rival or a run, with name, steps, samples, start, timesteps, stochastic; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--method", action="append", default=[], metavar="NAME='CMD {input} {output}'",
        help="anybody's denoiser: reads one NIfTI file, writes another; may be repeated",
    )  # fmt: skip
    parser.add_argument("--no-classical", action="store_true", help="leave out the slow NLM and BM4D")
    parser.add_argument("--jobs", type=int, default=1, help="cases at a time")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--precision", default="auto", help="auto, float32 or bfloat16")
    parser.add_argument("--challenge", action="store_true", help="also the UDPET challenge's score, from every DRF")
    parser.add_argument("--record", action="store_true", help="write the bundles' own figures into their scores")
