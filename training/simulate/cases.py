"""One simulated case: a folder with the same anatomy at every dose, its truth and its labels; and the splits."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import as_completed
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
from tqdm import tqdm

from MAPDiffLib.files import clear_partials, written_whole
from training.process_pool import process_pool
from training.simulate.lesions import LesionPlan
from training.simulate.phantom import make_phantom
from training.simulate.scanner import Reconstruction, ScannerSetup, acquire, thin
from training.simulate.shapes import Grid

NOISE_FREE = "noise-free"  # the same reconstruction of the expected counts: what no dose reaches, and all aim at
WITH_TUMOURS = "simulated (training/simulate), with the shapes of patients' tumours"
DOSES = (1.0, 0.5, 0.25, 0.1, 0.05, 0.02, 0.01)
SEEDS_PER_SPLIT = 100_000
# "external": for testing alone, on the other family of scanners
SPLITS = {"train": 0, "validation": SEEDS_PER_SPLIT, "test": 2 * SEEDS_PER_SPLIT, "external": 3 * SEEDS_PER_SPLIT}


@dataclass(frozen=True)
class Size:
    """Grid of a preset: shape [z, y, x], and how many times larger than usual its voxels are."""

    shape: tuple[int, int, int]
    coarser: float


SIZES = {
    "full": Size((256, 128, 128), 1.0),
    "short": Size((192, 128, 128), 1.0),
    "small": Size((128, 64, 64), 2.0),
    "fine": Size((512, 256, 256), 0.5),  # about 2 mm: to judge what is made of voxels finer than training's
    "tiny": Size((48, 48, 48), 2.8),  # for tests
}


FAMILIES: dict[str, Callable[[np.random.Generator], ScannerSetup]] = {
    "internal": ScannerSetup.random,
    "varied": ScannerSetup.random_varied,
    "external": ScannerSetup.random_external,
}
# The scanners of a split where nothing else is asked for.
FAMILY_OF = {"train": "varied", "validation": "varied", "test": "internal", "external": "external"}


@dataclass(frozen=True)
class CaseOptions:
    """How a case is made. family: one of FAMILIES, None for its split's own; counts: times those of its scanner."""

    size: str = "full"
    doses: tuple[float, ...] = DOSES
    lesions: LesionPlan = LesionPlan()
    family: str | None = None
    counts: float = 1.0


def split_seed(split: str, number: int) -> int:
    """The phantom's seed for case `number` of a split; no seed belongs to two splits. ValueError outside."""
    if split not in SPLITS:
        raise ValueError(f"split is {split!r}; one of {', '.join(SPLITS)} is needed")
    if not 0 <= number < SEEDS_PER_SPLIT:
        raise ValueError(f"seed is {number}; 0 to {SEEDS_PER_SPLIT - 1} are needed, so that the splits stay apart")
    return SPLITS[split] + number


def case_folder(cases: Path | str, split: str, number: int) -> Path:
    """<cases>/<split>/case-00012."""
    return Path(cases) / split / f"case-{number:05d}"


def make_case(cases: Path | str, split: str, number: int, options: CaseOptions = CaseOptions()) -> bool:  # noqa: B008
    """Write a case unless it is there already; True when it was made. What a killed run left of it is taken away."""
    folder = case_folder(cases, split, number)
    if (folder / "case.json").exists():
        return False
    if folder.parent.is_dir():
        clear_partials(folder.parent, of=f"{folder.name}.")
    family = options.family or FAMILY_OF[split]
    volumes, facts = simulate_case(split_seed(split, number), replace(options, family=family))
    write_case(folder, volumes, {"split": split, "size": options.size, "family": family, **facts})
    return True


def make_cases(
    cases: Path | str,
    split: str,
    numbers: Sequence[int],
    options: CaseOptions = CaseOptions(),  # noqa: B008  (frozen)
    jobs: int = 1,
    afterwards: Callable[[Path], object] | None = None,
) -> int:
    """Make those of these cases that are missing, `jobs` at a time, behind a bar; how many were made.

    afterwards: called with each folder, made or there already, by the process that made it; can be sent to one.
    """
    tasks = [(cases, split, number, options, afterwards) for number in numbers]
    bar = {"total": len(tasks), "desc": split, "unit": "case"}
    if jobs == 1:  # no pool: nothing to wait for that could be gone
        return sum(_one_of_many(*task) for task in tqdm(tasks, **bar))
    with process_pool(jobs) as pool:
        futures = [pool.submit(_one_of_many, *task) for task in tasks]
        return sum(future.result() for future in tqdm(as_completed(futures), **bar))


def _one_of_many(cases, split: str, number: int, options: CaseOptions, afterwards) -> bool:
    made = make_case(cases, split, number, options)
    if afterwards is not None:
        afterwards(case_folder(cases, split, number))
    return made


def write_case(folder: Path, volumes: dict[str, np.ndarray], facts: dict) -> None:
    """One NIfTI per volume and case.json, whole under a hidden name first, then renamed."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(folder) as partial:  # two runs into one folder do the work twice, but do not mix their files
        partial.mkdir()
        for name, voxels in volumes.items():
            write_nifti(voxels, facts["spacing_mm"], partial / f"{name}.nii.gz")
        (partial / "case.json").write_text(json.dumps(facts, indent=1), encoding="ascii")
        shutil.rmtree(folder, ignore_errors=True)


def simulate_case(seed: int, options: CaseOptions = CaseOptions()):  # noqa: B008  (frozen)
    """({"dose-1.000": SUV float32 [z, y, x], ..., "noise-free": ..., "truth": ..., "labels": uint8}, facts)."""
    rng = np.random.default_rng([seed, 2])
    size, setup = SIZES[options.size], FAMILIES[options.family or "internal"](rng)
    setup = replace(
        setup, voxel_mm=setup.voxel_mm * size.coarser, slice_mm=setup.slice_mm * size.coarser,
        trues_per_m=setup.trues_per_m * options.counts,
    )  # fmt: skip
    grid = Grid(size.shape, (setup.voxel_mm, setup.voxel_mm, setup.slice_mm))
    phantom = make_phantom(seed, grid, options.lesions)
    volumes, counts = scan_at_doses(phantom.activity, phantom.mu, setup, options.doses, rng)
    facts = {
        "seed": seed,
        "spacing_mm": list(grid.spacing_mm),
        "doses": sorted(options.doses),
        "units": "SUVbw",
        "scanner": asdict(setup),
        "counts": options.counts,
        "habitus": phantom.habitus,
        "lesion_rich": options.lesions.rich,
        "lesions": [asdict(lesion) for lesion in phantom.lesions],
        "full_dose_counts": counts,
    } | ({"kind": WITH_TUMOURS} if options.lesions.tumours else {})
    return {**volumes, "truth": phantom.activity, "labels": phantom.labels}, facts


def scan_at_doses(
    activity: np.ndarray, mu: np.ndarray, setup: ScannerSetup, doses: tuple[float, ...], rng: np.random.Generator
) -> tuple[dict[str, np.ndarray], int]:
    """Measure activity (SUV) behind mu (1/mm) once, thin it to nested doses and reconstruct each, and what is expected.

    Returns ({"dose-0.050": SUV float32 [z, y, x], ..., "noise-free": ...}, full-dose counts).
    """
    scan = acquire(activity, mu, setup, rng)
    reconstruction = Reconstruction(scan, setup, gpu())
    volumes = {
        f"dose-{dose:.3f}": reconstruction.filtered(reconstruction.osem(counts, dose))
        for dose, counts in thin(scan.counts, doses, rng).items()
    }
    volumes[NOISE_FREE] = reconstruction.filtered(reconstruction.osem(scan.expected, 1.0))
    return volumes, int(scan.counts.sum(dtype=np.int64))


def gpu() -> torch.device | None:
    """The GPU that this process reconstructs on, where there is one; processes share several of them out."""
    return torch.device("cuda", os.getpid() % torch.cuda.device_count()) if torch.cuda.is_available() else None


def write_nifti(voxels: np.ndarray, spacing_mm, path: Path) -> None:
    """Voxels [z, y, x] as compressed NIfTI, axes left, back, head, origin so that the volume's middle is at zero."""
    image = sitk.GetImageFromArray(voxels)
    image.SetSpacing([float(s) for s in spacing_mm])
    image.SetOrigin([-0.5 * (n - 1) * s for n, s in zip(voxels.shape[::-1], spacing_mm, strict=True)])
    sitk.WriteImage(image, str(path), useCompression=True, compressionLevel=1)
