"""Units of a volume: Slicer keeps them as two coded entries that Copy and sequences drop, so they are set by hand."""

from __future__ import annotations

import json

SUV_FACTS = "MAPDiff.SUV"  # attribute: what the worker found in the series' headers, as JSON
SUV_CODES = ("{SUVbw}g/ml", "{SUVlbm}g/ml", "{SUVbsa}cm2/ml", "{SUVibw}g/ml", "SUVbw", "g/ml", "GML")


def unitsOf(volumeNode) -> tuple[str, str]:
    """VoxelValueQuantity and VoxelValueUnits of a node as text, "" where there is none."""
    entries = (volumeNode.GetVoxelValueQuantity(), volumeNode.GetVoxelValueUnits())
    return tuple(entry.GetAsString() if entry is not None else "" for entry in entries)


def setUnits(volumeNode, quantity: str, units: str) -> None:
    """Sets what `unitsOf` gave, as copies: a coded entry is not shared between nodes."""
    import slicer

    for text, setEntry in ((quantity, volumeNode.SetVoxelValueQuantity), (units, volumeNode.SetVoxelValueUnits)):
        if text:
            entry = slicer.vtkCodedEntry()
            entry.SetFromString(text)
            setEntry(entry)


def suvUnits() -> tuple[str, str]:
    """Quantity and units of a body-weight SUV volume, for `setUnits`."""
    return (
        "CodeValue:126400|CodingSchemeDesignator:DCM|CodeMeaning:Standardized Uptake Value",
        "CodeValue:{SUVbw}g/ml|CodingSchemeDesignator:UCUM|CodeMeaning:Standardized Uptake Value body weight",
    )


def unitsCode(units: str, attribute: str | None) -> str:
    """The code value in a coded entry's text, else that of the DICOM attribute, else "unknown"."""
    for part in units.split("|"):
        if part.startswith("CodeValue:") and part != "CodeValue:":
            return _plain(part.partition(":")[2])
    return _plain(attribute or "") or "unknown"


def codeOf(volumeNode) -> str:
    """The code of a volume's units: as Slicer has it, else as the series' headers say, else "unknown"."""
    code = unitsCode(unitsOf(volumeNode)[1], volumeNode.GetAttribute("DICOM.MeasurementUnitsCodeValue"))
    return code if code != "unknown" else _plain(str(suvFacts(volumeNode).get("units") or "")) or "unknown"


def suvFacts(volumeNode) -> dict:
    """{"units": "BQML", "suv_factor": "0.00021"} or with "suv_refused", why there is none; {} where nobody looked."""
    try:
        facts = json.loads(volumeNode.GetAttribute(SUV_FACTS) or "{}")
    except ValueError:
        return {}
    return facts if isinstance(facts, dict) else {}


def suvFactor(volumeNode) -> float | None:
    """What the voxels are multiplied by to give SUV: 1 where they are SUV, None where nobody knows."""
    if isSuv(codeOf(volumeNode)):
        return 1.0
    try:
        factor = float(suvFacts(volumeNode)["suv_factor"])
    except (KeyError, TypeError, ValueError):
        return None
    return factor if 0 < factor < float("inf") else None


def isSuv(code: str) -> bool:
    """Whether SUV presets mean anything for a volume with this code."""
    return code in SUV_CODES


def _plain(text: str) -> str:
    """One line of ASCII, as a file's header needs it."""
    return "".join(letter for letter in text if 32 <= ord(letter) < 127).strip()
