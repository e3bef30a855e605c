"""Model bundles as folders: listed, added, removed. Of their content only bundle.json is read."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from slicer.i18n import tr as _

from MAPDiffLib import job as jobModule
from MAPDiffLib.job import InputError

MANIFEST, WEIGHTS = "bundle.json", "weights.safetensors"
KNOWN_FILES = (MANIFEST, WEIGHTS, "MODEL_CARD.md", "LICENSE.txt")  # the rest of a folder is not copied
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
MANIFEST_LIMIT = 1_000_000


@dataclass(frozen=True)
class BundleEntry:
    """One bundle of the list; `problem` is "" for one that can be used."""

    name: str
    folder: Path
    description: str
    doses: tuple
    problem: str
    own: bool  # in the user's folder: may be removed

    @property
    def label(self) -> str:
        """For the list."""
        return _("{name} (broken)").format(name=self.name) if self.problem else self.name


def shippedFolder() -> Path:
    """The bundles that came with the extension."""
    return Path(jobModule.__file__).parent / "bundles"


def userFolder() -> Path:
    """The user's own: outside Slicer, so that an update of Slicer keeps them."""
    own = os.environ.get("MAPDIFF_BUNDLES")
    return Path(own) if own else Path.home() / ".MAPDiff" / "bundles"


def listBundles() -> list[BundleEntry]:
    """Shipped ones first; a name counts once, as the worker looks them up."""
    found: dict[str, BundleEntry] = {}
    for parent in (shippedFolder(), userFolder()):
        for manifest in sorted(parent.glob("*/" + MANIFEST)):
            if NAME.fullmatch(manifest.parent.name):
                found.setdefault(manifest.parent.name, readEntry(manifest.parent))
    return list(found.values())


def readEntry(folder: Path) -> BundleEntry:
    """What bundle.json says; a broken one is listed with its problem."""
    own = folder.parent == userFolder()
    try:
        manifest = _manifest(folder)
        doses = tuple(float(anchor["dose"]) for anchor in manifest["anchors"])
        description = str(manifest["description"])
        problem = "" if (folder / WEIGHTS).is_file() else _("{file} is missing").format(file=WEIGHTS)
    except (OSError, ValueError, KeyError, TypeError) as error:
        doses, description = (), ""
        problem = _("{file} cannot be used: {error}").format(file=MANIFEST, error=error)
    return BundleEntry(folder.name, folder, description, doses, problem, own)


def addBundle(source: str) -> BundleEntry:
    """Copies a bundle's files into the user's folder, whole or not at all. InputError says why not."""
    folder = Path(source)
    if not (folder / MANIFEST).is_file():
        raise InputError(_("{folder} holds no {file}: choose the folder of a model bundle.").format(
            folder=folder, file=MANIFEST))  # fmt: skip
    entry = readEntry(folder)
    if entry.problem:
        raise InputError(_("This bundle cannot be used. {problem}. Get it again from where it came from.").format(
            problem=entry.problem))  # fmt: skip
    name = str(_manifest(folder).get("name"))
    if not NAME.fullmatch(name):
        raise InputError(_("The bundle's name {name!r} is not a folder name.").format(name=name))
    target = userFolder() / name
    if target.exists() or (shippedFolder() / name).exists():
        raise InputError(_("There is already a bundle called {name}. Remove it first.").format(name=name))
    userFolder().mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=".part-", dir=userFolder()))
    try:
        for file in KNOWN_FILES:
            if (folder / file).is_file():
                shutil.copyfile(folder / file, partial / file)
        partial.chmod(0o755)
        os.replace(partial, target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return readEntry(target)


def removeBundle(entry: BundleEntry) -> None:
    """Of the user's own folder only. InputError for a shipped one."""
    if not entry.own:
        raise InputError(_("{name} came with MAPDiff and stays.").format(name=entry.name))
    shutil.rmtree(entry.folder)


def _manifest(folder: Path) -> dict:
    path = folder / MANIFEST
    if path.stat().st_size > MANIFEST_LIMIT:
        raise ValueError(_("it is too long"))
    manifest = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(manifest, dict):
        raise ValueError(_("it is not a JSON object"))
    return manifest
