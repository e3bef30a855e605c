"""One test case as the table sees it: every real dose, the body, the truth, organs and lesions, its scanner."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from MAPDiffLib.scan.volume import Volume, body_mask, read_volume
from training.cases.case_file import derived_doses, dose_file, read_dose, read_facts, read_noise_free
from training.cases.regions import ORGANS, Lesion, Regions, lesion_regions, organ_regions, phantom_labels
from training.scores.contrast import LesionSite
from training.scores.quantification import Reading
from training.simulate.tissues import Tissue

TEXTURE_VOXELS = 8  # a lesion of fewer has no texture to speak of
SPLIT_SCANNERS = {"external": "external"}  # every other split is of the scanners that training knows


@dataclass(frozen=True)
class TestCase:
    """A folder with case.json and one NIfTI per dose; truth.nii.gz and labels.nii.gz where they are known."""

    __test__ = False  # no test for pytest to collect
    folder: Path

    @cached_property
    def facts(self) -> dict:
        """What its case.json says."""
        return read_facts(self.folder)

    @property
    def name(self) -> str:
        """Its folder's, and the counts where they are not the scanner's own: the same body is then in two cases."""
        counts = self.facts.get("counts", 1.0)
        return self.folder.name if counts == 1 else f"{self.folder.name} x {counts:g}"

    @property
    def scanner(self) -> str:
        """The column of the table that this case belongs to: internal, external, real anatomy, lesion-rich (internal,
        with many lesions), or noise mismatch (a scanner with other counts than its family's)."""
        if "real anatomy" in self.facts.get("kind", ""):
            return "real anatomy"
        if self.facts.get("counts", 1.0) != 1:
            return "noise mismatch"
        usual = "lesion-rich" if self.facts.get("lesion_rich") else "internal"
        return SPLIT_SCANNERS.get(self.facts.get("split", ""), usual)

    def scan(self, dose: float) -> Volume:
        """The low-dose scan that the methods are given."""
        return read_dose(self.folder, dose)

    @cached_property
    def full(self) -> Volume:
        """The full-dose scan, which methods are scored against."""
        return read_dose(self.folder, 1.0)

    @cached_property
    def body(self) -> np.ndarray:
        """The body in the full-dose scan: bool [z, y, x]."""
        return body_mask(self.full.voxels, self.full.spacing_mm)

    def real(self, above: float) -> dict[float, np.ndarray]:
        """{dose: voxels} of every real scan of at least this dose that was measured, not computed from others."""
        measured = set(self.facts.get("doses", [1.0])) - set(derived_doses(self.folder))
        found = {dose: self.folder / dose_file(dose) for dose in measured if dose >= above}
        return {dose: read_volume(path).voxels for dose, path in sorted(found.items()) if path.exists()}

    @cached_property
    def truth(self) -> np.ndarray | None:
        """The activity that was simulated, [z, y, x]; None where nobody can know."""
        path = self.folder / "truth.nii.gz"
        return read_volume(path).voxels if path.exists() else None

    @cached_property
    def noise_free(self) -> np.ndarray | None:
        """What every dose would be without noise; None where nobody can know."""
        found = read_noise_free(self.folder)
        return None if found is None else found.voxels

    @cached_property
    def sites(self) -> list[LesionSite]:
        """Each lesion with its surroundings."""
        marked = np.any([lesion.mask for lesion in self.lesions], axis=0) if self.lesions else None
        return [
            LesionSite.of(lesion.mask, marked, self.body, self.full.spacing_mm, lesion.diameter_mm)
            for lesion in self.lesions
        ]

    @cached_property
    def tissue(self) -> np.ndarray:
        """Tissue labels [z, y, x]; of a real subject no more than air, body (as soft tissue) and lesions."""
        labels = phantom_labels(self.folder, self.full.voxels.shape)
        if labels is None:
            labels = np.where(self.body, np.uint8(Tissue.SOFT_TISSUE), np.uint8(Tissue.AIR))
            for lesion in self.lesions:
                labels[lesion.mask] = Tissue.LESION
        return labels

    @cached_property
    def organs(self) -> Regions:
        """By name, as masks [z, y, x]."""
        return organ_regions(self.folder, self.full.voxels.shape)

    @cached_property
    def lesions(self) -> list[Lesion]:
        """Each with its mask."""
        return lesion_regions(self.folder, self.full.voxels.shape, self.full.spacing_mm)

    @cached_property
    def challenge_regions(self) -> tuple[Regions, Regions]:
        """The challenge's four organs, and the lesions that are large enough for it, by name."""
        large = [lesion.mask for lesion in self.lesions if np.count_nonzero(lesion.mask) >= TEXTURE_VOXELS]
        organs = {name: self.organs[name] for name in ORGANS.values() if name in self.organs}
        return organs, {f"lesion {number}": mask for number, mask in enumerate(large, 1)}

    @cached_property
    def real_organs(self) -> dict[str, dict[str, float]]:
        """What the real full-dose scan reads in each organ."""
        return {name: self._reading.organ(mask) for name, mask in self.organs.items()}

    @cached_property
    def real_lesions(self) -> list[dict[str, float]]:
        """What the real full-dose scan reads in each lesion."""
        return [self._reading.lesion(lesion.mask) for lesion in self.lesions]

    @cached_property
    def _reading(self) -> Reading:
        return Reading(self.full.voxels, self.full.spacing_mm)
