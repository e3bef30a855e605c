"""What this Python can compute on: asked by a program that must not load torch itself."""

from __future__ import annotations

import os
import platform

from MAPDiffLib import __version__
from MAPDiffLib.jobs.libraries import load_libraries


def probe() -> dict:
    """Versions, devices and bundles, ready for JSON. A missing or broken torch is `problem`, not an error."""
    facts = {"mapdiff": __version__, "python": platform.python_version(), "torch": None, "problem": ""}
    try:
        load_libraries()
        import torch

        from MAPDiffLib.model.bundle import list_bundles
    except (ImportError, OSError) as error:  # OSError: a shared library of torch that does not load
        return facts | {"devices": [], "bundles": [], "problem": f"{type(error).__name__}: {error}"}
    cpu = {"device": "cpu", "name": platform.processor() or platform.machine(), "threads": torch.get_num_threads()}
    devices = [cpu | {"cores": os.cpu_count()}, *_cuda_devices(torch)]
    return facts | {"torch": torch.__version__, "devices": devices, "bundles": list_bundles()}


def _cuda_devices(torch) -> list[dict]:
    """`problem` is "" for a GPU on which this torch can compute."""
    from MAPDiffLib.restoration.device import trial

    if not torch.cuda.is_available():
        return []
    found = []
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        facts = {"device": f"cuda:{index}", "name": properties.name, "memory_bytes": properties.total_memory}
        found.append(facts | {"problem": trial(torch.device("cuda", index), torch.bfloat16)})
    return found
