"""Standard output as a channel between two processes of ours, kept clear of what libraries print."""

from __future__ import annotations

import os
import sys
from typing import BinaryIO


def claim_stdout() -> BinaryIO:
    """A private handle on standard output; everyone else's, prints of libraries in C too, becomes standard error."""
    sys.stdout.flush()
    channel = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return channel
