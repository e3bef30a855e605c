"""Measurements as a person reads them: Markdown tables with the bars, one JSON file, one plot."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

from MAPDiffLib.files import write_text, written_whole


def write(results: dict, folder: Path) -> None:
    """speed.json, speed.md and, where matplotlib is there, growth.png."""
    write_text(json.dumps(results, indent=1), folder / "speed.json")
    write_text(table(results) + "\n", folder / "speed.md")
    points = next((size["growth"]["points"] for size in _sizes(results).values() if "growth" in size), None)
    if points and importlib.util.find_spec("matplotlib"):
        _plot(points, folder / "growth.png")


def table(results: dict) -> str:
    """All that was measured, as Markdown."""
    machine = results["machine"]
    lines = [
        f"{machine['device']}, {machine['threads']} threads, {machine['precision']}, torch {machine['torch']},"
        f" load at start {machine['load_at_start']}",
    ]
    for size, found in _sizes(results).items():
        lines += ["", f"### {size}: {' x '.join(map(str, found['scan']['shape_zyx']))}", ""]
        lines += _times(found)
        lines += _profile(found.get("profile"))
        lines += _roofline(found.get("roofline"))
        lines += _dtype_and_layout(found.get("dtype-and-layout"))
    return "\n".join([*lines, "", *bars(results)])


def _sizes(results: dict) -> dict[str, dict]:
    return {name: found for name, found in results.items() if isinstance(found, dict) and "scan" in found}


def _others(found: dict) -> dict[str, dict]:
    """What was timed beside our own restoration, by name."""
    return found.get("unet", {}) | found.get("baselines", {})


def _times(found: dict) -> list[str]:
    rows = []
    for name, one in found.get("arrays", {}).items():
        sampling = one["sampling"]
        evaluations = f"{sampling['samples']} evaluations"
        memory = (
            f", {one['gpu_reserved_gb'] + one['gpu_outside_torch_gb']:.1f} GB of GPU"
            if "gpu_reserved_gb" in one
            else ""
        )
        rows.append((f"MAP-Diff, all doses, {name}", one, f"array to arrays, {evaluations}{memory}"))
    if "end-to-end" in found:
        one = found["end-to-end"]
        rows.append(("MAP-Diff, read to written", one, f"a process, peak {one['peak_gb']:.2f} GB"))
    rows += [(name, one, one["how"]) for name, one in _others(found).items() if one]
    ours = rows[0][1]["seconds"] if rows and "arrays" in found else None
    lines = ["| what | seconds | MAP-Diff / it | runs | how |", "|---|---|---|---|---|"]
    for name, one, how in rows:
        ratio = f"{ours / one['seconds']:.4g}" if ours else "-"
        lines.append(f"| {name} | {one['seconds']:.2f} | {ratio} | {one['runs']} | {how} |")
    return lines


def _profile(stages: dict | None) -> list[str]:
    if not stages:
        return []
    total = sum(stages.values())
    rows = [f"| {name} | {s:.3f} | {s / total:.1%} |" for name, s in sorted(stages.items(), key=lambda i: -i[1])]
    return ["", "| stage | seconds | share |", "|---|---|---|", *rows]


def _roofline(found: dict | None) -> list[str]:
    if not found:
        return []
    return [
        "",
        f"The network, {found['dtype']}, on a cube of {found['edge']}: {found['kflop_per_voxel']:.1f} kFLOP and"
        f" {found['bytes_per_voxel']:.0f} bytes a voxel; {found['network_gflops']:.0f} GFLOP/s, its convolutions alone"
        f" {found['convolutions_gflops']:.0f}, so {found['share_of_convolutions']:.0%} of their rate; a matrix product"
        f" {found['matmul_gflops']:.0f} GFLOP/s; a copy {found['copy_gb_per_s']:.1f} GB/s.",
    ]


def _dtype_and_layout(found: dict | None) -> list[str]:
    if not found:
        return []
    rows = [f"| {name} | {one['seconds']:.4f} | {one['first_s']:.2f} |" for name, one in found.items()]
    return ["", "| one evaluation | seconds | first, with its start-up |", "|---|---|---|", *rows]


def bars(results: dict) -> list[str]:
    """Each bar that was measured: what is asked, what was seen, met or not."""
    cpu = results["machine"]["cudnn"] is None
    rows = []
    for size, found in _sizes(results).items():
        rows += _bars_of(size, found, cpu)
    lines = ["| bar | seen | asked | |", "|---|---|---|---|"]
    for what, seen, asked in rows:
        lines.append(f"| {what} | {seen:.3g} | at most {asked:g} | {'met' if seen <= asked else '**missed**'} |")
    return lines


def _bars_of(size: str, found: dict, cpu: bool) -> list[tuple[str, float, float]]:
    rows = []
    ours = found.get("arrays", {}).get("all memory", {}).get("seconds")
    for begins, name, asked in (("(a)", "plain U-Net", 0.3), ("(c)", "DDPM", 1 / 200)):
        other = next((one for key, one in _others(found).items() if key.startswith(begins)), None)
        if ours and other and cpu and size == "small":
            rows.append((f"all doses / {name}, time", ours / other["seconds"], asked))
    if "end-to-end" in found and cpu:
        one = found["end-to-end"]
        if size == "small":
            rows.append(("read to written, s", one["seconds"], 20))
        rows.append((f"{size}: peak memory, GB", one["peak_gb"], 1.5 if size == "small" else 6))
    if ours and not cpu and size == "quadra":
        limited = found["arrays"]["4 GB"]
        rows.append(("quadra on a GPU, s", ours, 10))
        rows.append(("GPU memory on request, GB", limited["gpu_reserved_gb"] + limited["gpu_outside_torch_gb"], 4))
    if "profile" in found:
        stages = found["profile"]
        inside = stages.get("convolutions", 0) + stages.get("rest of the network", 0)
        rows.append((f"{size}: outside the network, share", 1 - inside / sum(stages.values()), 0.15))
    if "fidelity" in found:
        seconds, local, drawn = (found["fidelity"][name] for name in ("seconds", "local", "drawn"))
        added = local + drawn
        rows.append((f"{size}: guard, places, drawn scans over the rest", added / (seconds - added), 0.15))
    if "roofline" in found:
        rows.append(("network / its convolutions alone, time", 1 / found["roofline"]["share_of_convolutions"], 1 / 0.6))
    if "worker" in found:
        start, said = found["worker"]["start_up"], found["worker"]["progress"]
        rows.append(("first message less import of torch, s", start["first_message_s"] - start["import_torch_s"], 1))
        rows.append(("longest silence, s", said["longest_silence_s"], 1))
        rows.append(("from cancel to the end, s", found["worker"]["cancelling"]["longest_s"], 2))
        rows.append(("remaining time off by, share", said["remaining_off"], 0.25))
    if "growth" in found:
        rows.append(("time over body voxels, exponent", found["growth"]["body_exponent"], 1.05))
    return rows


def _plot(points: dict[str, list[dict]], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 5), layout="constrained")
    axes = figure.subplots(2, len(points), squeeze=False)
    for column, (name, line) in enumerate(points.items()):
        for row, (key, label) in enumerate((("seconds", "s"), ("peak_gb", "peak GB"))):
            axis = axes[row][column]
            axis.plot([point["x"] for point in line], [point[key] for point in line], "o-")
            axis.set(xlabel=name, ylabel=label, ylim=(0, None), xlim=(0, None))
    with written_whole(path) as partial:
        figure.savefig(partial, dpi=100)
