"""mapdiff-train bench: the speed table (Markdown), everything measured (JSON) and the growth plot, into one folder."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from bench import report
from bench.baselines import Baseline, baselines, plain_unet
from bench.dtype_and_layout import dtype_and_layout
from bench.growth import exponent, growth
from bench.roofline import profile, roofline
from bench.scans import DOSE, quadra_scan, small_scan
from bench.timing import in_child, repeated, seconds_of, summary
from bench.worker import cancelling, progress, start_up
from MAPDiffLib.job import RestoreOptions, dose_title
from MAPDiffLib.model.bundle import Bundle, load_bundle
from MAPDiffLib.restoration.device import choose_compute
from MAPDiffLib.restoration.doses import ANCHOR_DOSES
from MAPDiffLib.restoration.restore import restore
from MAPDiffLib.scan.volume import Volume, write_volume

SCANS = {"small": small_scan, "quadra": quadra_scan}
ROOFLINE_EDGE = {"cpu": 96, "cuda": 256}


def bench(options: argparse.Namespace) -> None:
    """Measures the chosen parts, one after the other; what is done is written after each."""
    began = time.perf_counter()
    options.work = options.output / "work"  # scans and restorations; gone at the end
    options.work.mkdir(parents=True, exist_ok=True)
    try:
        results = _measured(options)
    finally:
        shutil.rmtree(options.work)
    print(f"{report.table(results)}\n{time.perf_counter() - began:.0f} s in all")


def _measured(options: argparse.Namespace) -> dict:
    bundle = load_bundle(options.bundle)
    results = {"machine": machine(options), "options": {key: str(value) for key, value in vars(options).items()}}
    for size in options.sizes:
        scan, seconds = _timed(SCANS[size])
        print(f"{size}: {scan.voxels.shape}, {int(scan.body.sum()):,} voxels of body, made in {seconds:.0f} s")
        facts = {"shape_zyx": scan.voxels.shape, "spacing_mm": scan.spacing_mm, "body_voxels": int(scan.body.sum())}
        results[size] = {"scan": facts}
        for part in options.parts:
            if size == options.sizes[0] or part not in ONCE:
                results[size][part], seconds = _timed(lambda p=part, s=scan: PARTS[p](s, bundle, options))  # noqa: B023
                print(f"{size}, {part}: {seconds:.0f} s", flush=True)
                report.write(results, options.output)
    return results


def machine(options: argparse.Namespace) -> dict:
    """What the figures were taken on."""
    compute = choose_compute(options.device, "auto")
    cuda = compute.device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(compute.device) if cuda else _processor(),
        "threads": torch.get_num_threads(),
        "load_at_start": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "precision": str(compute.dtype).removeprefix("torch."),
        "layout": str(compute.layout).removeprefix("torch."),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cudnn": torch.backends.cudnn.version() if cuda else None,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(": ")[2] for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _end_to_end(scan: Volume, bundle: Bundle, options: argparse.Namespace) -> dict:
    """`mapdiff restore` as a process: read, restore all doses, write; with its peak memory."""
    path, results = options.work / "scan.nrrd", options.work / "restored"
    write_volume(scan, path)
    command = ["restore", str(path), "--output", str(results), "--bundle", options.bundle, "--overwrite"]
    command += ["--input-dose", str(DOSE), "--device", options.device]
    runs = [in_child("MAPDiffLib", *command)]
    while len(runs) < options.repeats and sum(run["seconds"] for run in runs) < options.budget:
        runs.append(in_child("MAPDiffLib", *command))
    stages = json.loads((results / "report.json").read_text())["seconds"]
    return {
        **summary([run["seconds"] for run in runs]),
        "peak_gb": max(run["peak_gb"] for run in runs),
        "stages": stages,
    }


def _arrays(scan: Volume, bundle: Bundle, options: argparse.Namespace) -> dict:
    """All doses from array to arrays in this process, the body still to be found; on a GPU with its peak memory."""
    chosen = RestoreOptions(input_dose=DOSE, device=options.device)
    found = {"all memory": _one_setting(scan, bundle, options, chosen)}
    if options.device.startswith("cuda"):
        found["4 GB"] = _one_setting(scan, bundle, options, replace(chosen, gpu_memory_gb=4.0))
    return found


def _one_setting(scan: Volume, bundle: Bundle, options: argparse.Namespace, chosen: RestoreOptions) -> dict:
    reports, messages = [], []

    def run() -> None:
        fresh = Volume(scan.voxels, scan.spacing_mm, units=scan.units)
        restoration = restore(fresh, bundle, chosen, report=messages.append)
        for _ in restoration:
            pass
        reports.append(restoration.report)

    cuda = options.device.startswith("cuda")
    if cuda:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    taken = repeated(run, options.repeats, options.budget, options.device)
    said = {
        **summary(taken),
        "all_seconds": taken,
        "tile_edges": reports[-1]["tile_edges"],
        "sampling": reports[-1]["sampling"],
        "stages": {
            name: statistics.median(each["seconds"][name] for each in reports) for name in reports[0]["seconds"]
        },
        "warnings": sorted({m["message"] for m in messages if m["type"] == "warning"}),
    }
    if cuda:
        free, total = torch.cuda.mem_get_info()
        said["gpu_allocated_gb"] = torch.cuda.max_memory_allocated() / 1e9
        said["gpu_reserved_gb"] = torch.cuda.max_memory_reserved() / 1e9
        said["gpu_outside_torch_gb"] = (total - free - torch.cuda.memory_reserved()) / 1e9
    return said


def _unet(scan: Volume, bundle: Bundle, options: argparse.Namespace) -> dict:
    return _baselines(scan, bundle, options, plain_unet)


def _baselines(scan: Volume, bundle: Bundle, options: argparse.Namespace, chosen: Callable = baselines) -> dict:
    compute = choose_compute(options.device, "auto")
    found = {}
    for baseline in chosen(scan, bundle, compute):
        if not isinstance(baseline, Baseline):
            print(f"not run: {baseline}")
            found[baseline] = None
            continue
        taken = repeated(baseline.run, options.repeats, options.budget, options.device)
        found[baseline.name] = {**summary(taken, baseline.units), "how": baseline.how}
    return found


def _roofline(scan: Volume, bundle: Bundle, options: argparse.Namespace) -> dict:
    compute = choose_compute(options.device, "auto")
    edge = options.edge or ROOFLINE_EDGE[compute.device.type]
    return roofline(bundle, compute, edge, options.repeats, options.budget)


def _dtype_and_layout(scan: Volume, bundle: Bundle, options: argparse.Namespace) -> dict:
    edge = options.edge or ROOFLINE_EDGE[options.device.partition(":")[0]]
    return dtype_and_layout(bundle, options.device, edge, options.repeats, options.budget)


def _profile(scan: Volume, bundle: Bundle, options: argparse.Namespace) -> dict:
    chosen = RestoreOptions(input_dose=DOSE, device=options.device)
    profile(scan, bundle, chosen)
    return profile(scan, bundle, chosen)


def _fidelity(scan: Volume, bundle: Bundle, options: argparse.Namespace) -> dict:
    """What the local guard, the places to check and drawn scans take of a restoration: each timed within one run, since
    the difference of two whole runs would be less than what these scatter by."""
    both = RestoreOptions(input_dose=DOSE, device=options.device, doses_as="both")
    whole = _one_setting(scan, bundle, options, both)
    local = [profile(scan, bundle, both)["local guard and places"] for _ in range(options.repeats)]
    drawn = [whole["stages"][dose_title(dose, drawn=True)] for dose in ANCHOR_DOSES]
    return {**whole, "local": statistics.median(local), "drawn": sum(drawn)}


def _growth(scan: Volume, bundle: Bundle, options: argparse.Namespace) -> dict:
    points = growth(scan, options.bundle, options.work, options.device, max(1, options.repeats // 2))
    return {"points": points, "body_exponent": exponent(points["body voxels"])}


def _worker(scan: Volume, bundle: Bundle, options: argparse.Namespace) -> dict:
    path = options.work / "scan.nrrd"
    write_volume(scan, path)
    said = progress(path, options.work, options.bundle, options.device)
    ends = cancelling(path, options.work, options.bundle, options.device, options.repeats)
    return {"start_up": start_up(options.repeats), "progress": said, "cancelling": ends}


PARTS: dict[str, Callable] = {
    "arrays": _arrays,
    "profile": _profile,
    "fidelity": _fidelity,
    "roofline": _roofline,
    "dtype-and-layout": _dtype_and_layout,
    "unet": _unet,
    "baselines": _baselines,
    "end-to-end": _end_to_end,
    "worker": _worker,
    "growth": _growth,
}
ONCE = ("roofline", "dtype-and-layout", "worker", "growth")  # on the first size only


def _timed(work: Callable):
    result = []
    seconds = seconds_of(lambda: result.append(work()))
    return result[0], seconds
