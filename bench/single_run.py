"""One restoration in a process of its own, so that its peak memory is its own.

python -m bench.single_run scan.npy {...}
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np


def main(path: str, text: str) -> None:
    """Restores the voxels in a .npy file with the given spacing and options; prints seconds as JSON."""
    from MAPDiffLib.job import RestoreOptions
    from MAPDiffLib.model.bundle import load_bundle
    from MAPDiffLib.restoration.restore import restore
    from MAPDiffLib.scan.volume import Volume

    given = json.loads(text)
    scan = Volume(np.load(path), given["spacing_mm"], units="SUVbw")
    options = given["options"]
    if "doses" in options:
        options["doses"] = tuple(options["doses"])
    bundle = load_bundle(given["bundle"])
    started = time.perf_counter()
    for _ in restore(scan, bundle, RestoreOptions(**options)):
        pass
    print(json.dumps({"seconds": time.perf_counter() - started}))


if __name__ == "__main__":
    main(*sys.argv[1:])
