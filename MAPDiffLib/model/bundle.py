"""A model bundle: a folder with bundle.json, weights.safetensors and MODEL_CARD.md. Loaded, checked, saved, listed.

Weights are data: nothing in a bundle is executed, and nothing is built before its size is known.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import nn

from MAPDiffLib.errors import BundleError
from MAPDiffLib.files import write_json, written_whole
from MAPDiffLib.job import to_plain
from MAPDiffLib.model.manifest import FORMAT_VERSION, MANIFEST_FILE, NAME, Manifest, parse_manifest, read_manifest
from MAPDiffLib.model.network import DenoisingUNet, NetworkConfig
from MAPDiffLib.model.quantisation import STEP, unpack

WEIGHTS_FILE = "weights.safetensors"
CARD_FILE = "MODEL_CARD.md"
WEIGHTS_LIMIT_BYTES = 200_000_000
STORED_AS = {"F32": 4, "F16": 2, "I8": 1}  # safetensors' dtypes that are read, with their bytes
BUILT_IN = Path(__file__).parents[1] / "bundles"


@dataclass(frozen=True)
class Bundle:
    """A checked model: `network` in eval mode, float32, on the CPU, and what its bundle.json says."""

    folder: Path
    network: nn.Module
    manifest: Manifest


def load_bundle(name_or_path: str | os.PathLike) -> Bundle:
    """The bundle of a name (see `bundle_folders`) or in a folder. BundleError says what is wrong and what to do."""
    folder = find_bundle(name_or_path)
    manifest = read_manifest(_own_file(folder, MANIFEST_FILE))
    path = _own_file(folder, WEIGHTS_FILE)
    content = _checked_bytes(path, manifest.weights_sha256)
    _check_header(_header(content, path), _expected_shapes(manifest.network), path)
    network = DenoisingUNet(manifest.network)
    network.load_state_dict(_tensors(content, path))
    return Bundle(folder, network.eval().requires_grad_(False), manifest)


def save_bundle(
    folder: str | os.PathLike, network_config: NetworkConfig, state_dict: Mapping, manifest_fields: Mapping
) -> Path:
    """Writes a new bundle whole: under a temporary name, loaded once as a check, then renamed. Returns its folder.

    `manifest_fields`: every key of bundle.json but format_version, network and weights_sha256. Tensors float32,
    float16 or as quantisation.pack makes them. BundleError when the folder exists or a field would be refused by
    `load_bundle`; nothing is left then.
    """
    folder = Path(folder)
    check_is_new(folder)
    weights = save_tensors({name: tensor.detach().cpu().contiguous() for name, tensor in state_dict.items()})
    made = {
        "format_version": FORMAT_VERSION,
        "network": asdict(network_config),
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
    }
    manifest = to_plain({**manifest_fields, **made})
    parse_manifest(manifest, folder / MANIFEST_FILE)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(folder) as partial:
        partial.mkdir()
        (partial / WEIGHTS_FILE).write_bytes(weights)
        write_json(manifest, partial / MANIFEST_FILE)
        load_bundle(partial)
    return folder


def check_is_new(folder: Path) -> None:
    """BundleError where something is already where a bundle is to be saved."""
    if folder.exists():
        raise BundleError(f"{folder} exists; remove it or choose another folder")


def bundle_folders() -> tuple[Path, ...]:
    """Where names are looked up, in this order: the built-in bundles, then $MAPDIFF_BUNDLES or ~/.MAPDiff/bundles."""
    own = os.environ.get("MAPDIFF_BUNDLES")
    return BUILT_IN, Path(own) if own else Path.home() / ".MAPDiff" / "bundles"


def list_bundles(folders: Iterable[str | os.PathLike] | None = None) -> list[dict]:
    """Every bundle in `folders` (default: `bundle_folders`), weights not loaded.

    Each a dict: name (of its folder, what `load_bundle` takes), folder, description, bytes, problem ("" when none).
    """
    found = {}
    for parent in map(Path, bundle_folders() if folders is None else folders):
        for manifest in sorted(parent.glob(f"*/{MANIFEST_FILE}")):
            if NAME.fullmatch(manifest.parent.name):
                found.setdefault(manifest.parent.name, _listed(manifest.parent))
    return list(found.values())


def find_bundle(name_or_path: str | os.PathLike) -> Path:
    """The folder of a bundle. A text without a separator is a name; any other is a path. BundleError when absent."""
    text = os.fspath(name_or_path)
    if NAME.fullmatch(text) and not isinstance(name_or_path, os.PathLike):
        for parent in bundle_folders():
            if (parent / text).is_dir():
                return parent / text
        names = ", ".join(bundle["name"] for bundle in list_bundles()) or "none"
        places = " or ".join(map(str, bundle_folders()))
        raise BundleError(f"no bundle is called {text!r} (found: {names}); put its folder in {places}, or give a path")
    folder = Path(text).expanduser()
    if not folder.is_dir():
        seen = "is not a folder" if folder.exists() else "does not exist"
        raise BundleError(f"the bundle {folder} {seen}; a folder with {MANIFEST_FILE} and {WEIGHTS_FILE} is needed")
    return folder


def _listed(folder: Path) -> dict:
    entry = {"name": folder.name, "folder": str(folder), "description": "", "bytes": 0, "problem": ""}
    try:
        entry["description"] = read_manifest(_own_file(folder, MANIFEST_FILE)).description
        entry["bytes"] = _own_file(folder, WEIGHTS_FILE).stat().st_size
    except BundleError as error:
        entry["problem"] = str(error)
    return entry


def _own_file(folder: Path, name: str) -> Path:
    """folder/name, refused unless it is a regular file that really lies in the folder."""
    path = folder / name
    if not path.is_file():
        raise BundleError(f"{path} is missing or not a file; a bundle folder holds {MANIFEST_FILE} and {WEIGHTS_FILE}")
    if path.resolve().parent != folder.resolve():
        raise BundleError(f"{path} is a link to {path.resolve()}, outside the bundle; put the file itself there")
    return path


def _checked_bytes(path: Path, sha256: str) -> bytes:
    """The weights file, read once: what was checked is what is used."""
    if (size := path.stat().st_size) > WEIGHTS_LIMIT_BYTES:
        raise BundleError(f"{path} has {size} bytes; at most {WEIGHTS_LIMIT_BYTES} are read")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BundleError(f"{path} cannot be read ({error.strerror}); check its permissions") from error
    seen = hashlib.sha256(content).hexdigest()
    if seen != sha256:
        raise BundleError(f"{path} is incomplete or altered: its sha256 is {seen}, not {sha256}; copy the bundle again")
    return content


def _header(content: bytes, path: Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Tensor name -> (dtype, shape), from the safetensors header alone (8 bytes length, JSON)."""
    length = int.from_bytes(content[:8], "little")
    try:
        header = json.loads(content[8 : 8 + length]) if 0 < length <= len(content) - 8 else None
        tensors = {name: item for name, item in header.items() if name != "__metadata__"}
        return {name: (str(item["dtype"]), tuple(item["shape"])) for name, item in tensors.items()}
    except (ValueError, RecursionError, AttributeError, TypeError, KeyError) as error:
        raise BundleError(f"{path} is not a safetensors file; copy the bundle again") from error


def _expected_shapes(config: NetworkConfig) -> dict[str, tuple[int, ...]]:
    """What the network would hold, found without memory for it (torch's meta device)."""
    with torch.device("meta"):
        return {name: tuple(tensor.shape) for name, tensor in DenoisingUNet(config).state_dict().items()}


def _check_header(seen: Mapping, expected: Mapping, path: Path) -> None:
    """Names, shapes and dtypes as the network of bundle.json has them: its size then is the file's."""
    expected = {**expected, **_expected_steps(seen)}
    if missing := sorted(set(expected) - set(seen)):
        raise BundleError(f"{path} lacks {len(missing)} tensors of its network, the first is {missing[0]!r}")
    if unexpected := sorted(set(seen) - set(expected)):
        raise BundleError(f"{path} has {len(unexpected)} tensors its network lacks, the first is {unexpected[0]!r}")
    for name, (dtype, shape) in seen.items():
        if shape != expected[name]:
            raise BundleError(f"{path}: {name} has shape {list(shape)}; its network needs {list(expected[name])}")
        if dtype not in STORED_AS:
            raise BundleError(f"{path}: {name} is stored as {dtype}; one of {list(STORED_AS)} is needed")
    size = sum(STORED_AS[dtype] * math.prod(shape) for dtype, shape in seen.values())
    if size > WEIGHTS_LIMIT_BYTES:
        raise BundleError(f"{path} announces {size} bytes of weights; at most {WEIGHTS_LIMIT_BYTES} are read")


def _expected_steps(seen: Mapping) -> dict[str, tuple[int, ...]]:
    """Whole numbers have a step in each row, or one in all."""
    rows = {name + STEP: shape[:1] + (1,) * (len(shape) - 1) for name, (dtype, shape) in seen.items() if dtype == "I8"}
    one_in_all = {name: () for name in rows if name in seen and seen[name][1] == ()}
    return rows | one_in_all


def _tensors(content: bytes, path: Path) -> dict[str, torch.Tensor]:
    try:
        tensors = unpack(load_tensors(content))
    except SafetensorError as error:
        raise BundleError(f"{path} is not a whole safetensors file ({error}); copy the bundle again") from error
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise BundleError(f"{path}: {name} holds numbers that are not finite; the bundle cannot be used")
    return tensors
