"""The text headers of NRRD and MetaImage files, read strictly: what makes no sense is refused by its own line.

The parsers inside ITK (teem, MetaIO) end the process on some lines that are too long, are cut by a lone carriage return
or name a file by a pattern. They see a header only after every line of it has passed here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from MAPDiffLib.errors import InputError

LONGEST_LINE, LONGEST_TEXT = 500, 100_000  # a field; a comment or a text of the user's own
LONGEST_NAME, LONGEST_VALUE = 250, 1000  # MetaIO's buffers hold little more

_NUMBER = r"[-+]?[\w.][\w.+-]{0,39}"
_NUMBERS = rf"{_NUMBER}(\s+{_NUMBER}){{0,15}}"
_COUNTS = r"-?\d{1,12}(\s+-?\d{1,12}){0,15}"
_VECTOR = rf"(none|\(\s*{_NUMBER}(\s*,\s*{_NUMBER}){{0,15}}\s*\))"
_VECTORS = rf"{_VECTOR}(\s*{_VECTOR}){{0,15}}"
_WORDS = r"[\w ,.+/-]{0,200}"
_QUOTED = r'("[^"]{0,100}"\s*){1,16}'
NRRD_FIELDS = {  # without spaces, as both "data file" and "datafile" are valid
    "type": _WORDS, "dimension": r"\d{1,2}", "sizes": _COUNTS, "encoding": _WORDS, "endian": _WORDS,
    "space": _WORDS, "spacedimension": r"\d{1,2}", "spacedirections": _VECTORS, "spaceorigin": _VECTORS,
    "spaceunits": _QUOTED, "measurementframe": _VECTORS, "spacings": _NUMBERS, "thicknesses": _NUMBERS,
    "axismins": _NUMBERS, "axismaxs": _NUMBERS, "kinds": r"[\w ?-]{1,300}", "centers": r"[\w ?]{1,200}",
    "centerings": r"[\w ?]{1,200}", "labels": _QUOTED, "units": _QUOTED, "min": _NUMBERS, "max": _NUMBERS,
    "oldmin": _NUMBERS, "oldmax": _NUMBERS, "datafile": r"[^\x00-\x1f]{1,400}", "lineskip": r"\d{1,9}",
    "byteskip": r"-?\d{1,12}", "blocksize": r"\d{1,9}", "number": r"\d{1,12}", "sampleunits": r"[^\x00-\x1f]{0,200}",
    "content": r"[^\x00-\x08\x0a-\x1f]*",
}  # fmt: skip
_TRUTH = r"(?i:true|false|t|f|0|1)"
META_FIELDS = {
    "objecttype": _WORDS, "ndims": r"\d{1,2}", "dimsize": _COUNTS, "binarydata": _TRUTH, "compresseddata": _TRUTH,
    "binarydatabyteordermsb": _TRUTH, "elementbyteordermsb": _TRUTH, "compresseddatasize": r"\d{1,15}",
    "elementspacing": _NUMBERS, "elementsize": _NUMBERS, "offset": _NUMBERS, "origin": _NUMBERS, "position": _NUMBERS,
    "transformmatrix": _NUMBERS, "rotation": _NUMBERS, "orientation": _NUMBERS, "centerofrotation": _NUMBERS,
    "elementtype": r"\w{1,40}", "elementnumberofchannels": r"\d{1,6}", "elementmin": _NUMBER, "elementmax": _NUMBER,
    "elementtointensityfunctionslope": _NUMBER, "elementtointensityfunctionoffset": _NUMBER,
    "headersize": r"-?\d{1,12}", "headersizeperslice": r"-?\d{1,12}", "modality": r"\w{1,40}",
    "anatomicalorientation": r"[A-Za-z?]{1,10}", "distanceunits": r"\S{1,20}", "color": _NUMBERS, "id": r"-?\d{1,9}",
    "parentid": r"-?\d{1,9}", "sequenceid": _NUMBERS, "elementdatafile": r"[^\x00-\x1f%]{1,250}",
}  # fmt: skip
META_COUNTS = {  # how many numbers a field holds in n dimensions
    "dimsize": 1, "elementspacing": 1, "elementsize": 1, "offset": 1, "origin": 1, "position": 1,
    "centerofrotation": 1, "transformmatrix": 2, "rotation": 2, "orientation": 2,
}  # fmt: skip


def nrrd_fields(path: Path) -> dict[str, str]:
    """{field without spaces: value} of an NRRD header, small letters. InputError for any line that teem may not see.

    Comments and key/value pairs are checked and left out.
    """
    lines = _lines(path, LONGEST_TEXT)
    if not re.fullmatch(r"NRRD000\d", next(lines, "")):
        raise InputError(f"{path} does not begin as an NRRD file does: it is not such an image. Export it again.")
    fields = {}
    for line in lines:
        if not line:
            break
        key, separator, value = re.match(r"([^:]*)(:=|:|)(.*)", line).groups()
        if line.startswith("#") or separator == ":=":
            continue
        _check_length(line if key != "content" else "", LONGEST_LINE, path)
        fields[_checked(key.replace(" ", "").lower(), value.strip(), NRRD_FIELDS, line, path)] = value.strip()
    return fields


def meta_fields(path: Path) -> dict[str, str]:
    """{key: value} of a MetaImage header, keys in small letters. InputError for any line that MetaIO may not see."""
    fields = {}
    for line in _lines(path, LONGEST_NAME + LONGEST_VALUE):
        key, separator, value = (part.strip() for part in line.partition("="))
        if not separator and not line.strip():
            continue
        _check_length(key, LONGEST_NAME, path)
        key = key.lower()
        if not separator or not re.fullmatch(r"[\w .:|/()-]+", key):
            raise InputError(
                f"{path} has the line {_shown(line)} in its header, no `key = value`: it is not such an image, or "
                "damaged. Export it again."
            )
        if key == "ndims" and not re.fullmatch(META_FIELDS[key], value):
            raise InputError(f"{path} says NDims = {value[:20]!r}: it is damaged. Copy or export it again.")
        if key == "name":
            _check_length(value, LONGEST_NAME, path)
        fields[_checked(key, value, META_FIELDS, line, path) if key in META_FIELDS else key] = value
        if key == "elementdatafile":
            break
    _check_counts(fields, path)
    return fields


def _check_counts(fields: dict[str, str], path: Path) -> None:
    dimensions = int(fields.get("ndims", 3))
    for key, power in META_COUNTS.items():
        numbers = fields.get(key, "").split()
        if key in fields and len(numbers) != dimensions**power:
            raise InputError(
                f"{path} could not be read: {key} has {len(numbers)} numbers, where {dimensions**power} are needed "
                f"in {dimensions} dimensions. Export it again."
            )


def _lines(path: Path, longest: int) -> Iterator[str]:
    """The lines of a header without their ends; the reader stops where the voxels begin."""
    with path.open("rb") as file:
        for line in iter(lambda: file.readline(longest + 3), b""):
            text = line.decode("latin-1").removesuffix("\n").removesuffix("\r")
            _check_length(text, longest, path)
            if found := re.search(r"[\x00-\x08\x0b-\x1f]", text):
                raise InputError(
                    f"{path} has the byte {ord(found[0])} in its header (in {_shown(text)}): it is not such an image, "
                    "cut short or damaged. Copy or export it again."
                )
            yield text


def _checked(key: str, value: str, known: dict[str, str], line: str, path: Path) -> str:
    pattern = known.get(key)
    if pattern is None or not re.fullmatch(pattern, value):
        raise InputError(
            f"{path} could not be read: the line {_shown(line)} of its header makes no sense. It is not such an image, "
            "or damaged: copy or export it again."
        )
    return key


def _check_length(text: str, longest: int, path: Path) -> None:
    if len(text) > longest:
        raise InputError(
            f"{path} has a header field of {len(text)} characters or more ({_shown(text)}), where at most {longest} "
            "make sense: it is not such an image, or damaged. Copy or export it again."
        )


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:40] + "...")
