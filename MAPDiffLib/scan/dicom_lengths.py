"""Whether a DICOM file holds what it announces: a reader takes the memory that a damaged length asks for, up to 4 GB.

A data element is tag, value representation and length, or, in implicit files, tag and length, then its value (PS3.5,
section 7.1). Sequences and their items are walked through element by element. What has no known representation is taken
for implicit, as readers take it.
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

from MAPDiffLib.scan.file_checks import MOST_PACKED

SHORT = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
LONG = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())  # two bytes of nothing before the length
IMPLICIT, BIG_ENDIAN, DEFLATED = b"1.2.840.10008.1.2", b"1.2.840.10008.1.2.2", b"1.2.840.10008.1.2.1.99"
META, SYNTAX, PIXELS = 0x0002, (0x0002, 0x0010), (0x7FE0, 0x0010)
ITEM, END_OF_SEQUENCE = (0xFFFE, 0xE000), (0xFFFE, 0xE0DD)
UNDEFINED = 0xFFFFFFFF


def has_mark(path: Path) -> bool:
    """Whether the file says that it is DICOM. OSError when it cannot be opened."""
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def pixel_bytes(path: Path) -> int:
    """How many bytes of pixels the file can hold. ValueError where a length does not end inside it.

    ValueError for a deflated file too: its lengths could only be seen by inflating it, and no scanner writes such
    images. OSError when it cannot be opened.
    """
    with path.open("rb") as file:
        if path.stat().st_size < 8:
            raise ValueError("it is cut short or damaged: it has less than 8 bytes")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return _pixel_bytes(content)


def _pixel_bytes(content: mmap.mmap) -> int:
    at = 132 if content[128:132] == b"DICM" else 0
    order, explicit = "<", at > 0 or content[4:6] in SHORT | LONG
    syntax, in_meta, in_fragments, pixels = b"", at > 0, False, 0
    while at + 8 <= len(content):
        if in_meta and content[at : at + 2] != struct.pack("<H", META):
            if syntax == DEFLATED:
                raise ValueError("its content is deflated, which is not read")
            in_meta, explicit, order = False, syntax != IMPLICIT, ">" if syntax == BIG_ENDIAN else "<"
        tag = struct.unpack_from(order + "HH", content, at)
        kind, length, value = _header(content, at, order, explicit and tag[0] != ITEM[0])
        if length == UNDEFINED:
            if tag == PIXELS:
                in_fragments, pixels = True, MOST_PACKED * len(content)
            at = value
            continue
        if value + length > len(content):
            raise ValueError(
                f"it is cut short or damaged: element {tag[0]:04X},{tag[1]:04X} ends {value + length - len(content)} "
                "bytes beyond the end of the file"
            )
        if tag == PIXELS:
            pixels = max(pixels, length)
        elif tag == SYNTAX:
            syntax = content[value : value + length].strip(b" \0")
        opens = tag == ITEM or kind == b"SQ" or content[value : value + 4] == struct.pack(order + "HH", *ITEM)
        at = value if opens and not in_fragments else value + length
        in_fragments = in_fragments and tag != END_OF_SEQUENCE
    return pixels


def _header(content: mmap.mmap, at: int, order: str, explicit: bool) -> tuple[bytes, int, int]:
    """(value representation, length, where the value begins) of the element at `at`."""
    kind = content[at + 4 : at + 6] if explicit else b""
    if kind in SHORT:
        return kind, struct.unpack_from(order + "H", content, at + 6)[0], at + 8
    if kind in LONG and at + 12 <= len(content):
        return kind, struct.unpack_from(order + "I", content, at + 8)[0], at + 12
    return b"", struct.unpack_from(order + "I", content, at + 4)[0], at + 8
