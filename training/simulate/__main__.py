"""Make simulated cases: python -m training.simulate --split train --seeds 0-63 --output cases [--jobs 2]."""

from __future__ import annotations

import argparse
from concurrent.futures import as_completed

from tqdm import tqdm

from training.process_pool import process_pool
from training.simulate.cases import DOSES, SIZES, SPLITS, make_case
from training.simulate.phantom import LESIONS


def number_range(text: str) -> range:
    """ "3" or "0-63" (both ends included) as a range."""
    first, _, last = text.partition("-")
    numbers = range(int(first), int(last or first) + 1)
    if not numbers:
        raise argparse.ArgumentTypeError(f"{text!r} is no range; A-B with A <= B is needed")
    return numbers


def dose_list(text: str) -> tuple[float, ...]:
    """ "1,0.5,0.1" as doses; the full dose must be among them."""
    doses = tuple(float(part) for part in text.split(","))
    if 1.0 not in doses or not all(0 < dose <= 1 for dose in doses):
        raise argparse.ArgumentTypeError(f"doses are {text!r}; fractions in (0, 1] with 1 among them are needed")
    return doses


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line and make the cases that are missing."""
    parser = argparse.ArgumentParser(prog="python -m training.simulate", description=__doc__)
    parser.add_argument("--split", required=True, choices=list(SPLITS))
    parser.add_argument("--seeds", required=True, type=number_range, metavar="A-B")
    parser.add_argument("--output", required=True, metavar="DIR")
    parser.add_argument("--size", default="full", choices=list(SIZES))
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--doses", type=dose_list, default=DOSES, metavar="1,0.5,...")
    parser.add_argument(
        "--lesions", type=number_range, default=range(LESIONS[0], LESIONS[1] + 1), metavar="A-B", help="how many a body"
    )
    chosen = parser.parse_args(arguments)
    lesions = chosen.lesions[0], chosen.lesions[-1]
    arguments = [(chosen.output, chosen.split, number, chosen.size, chosen.doses, lesions) for number in chosen.seeds]
    bar = {"total": len(arguments), "desc": chosen.split, "unit": "case"}
    if chosen.jobs == 1:  # no pool: nothing to wait for that could be gone
        made = sum(make_case(*each) for each in tqdm(arguments, **bar))
    else:
        with process_pool(chosen.jobs) as pool:
            jobs = [pool.submit(make_case, *each) for each in arguments]
            made = sum(job.result() for job in tqdm(as_completed(jobs), **bar))
    print(f"{made} made, {len(chosen.seeds) - made} were there already, in {chosen.output}/{chosen.split}")


if __name__ == "__main__":
    main()
