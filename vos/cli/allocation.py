"""How the program's memory is handed out."""

from __future__ import annotations

import ctypes

# glibc's numbers of its options, and the largest block that it may be told to keep.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_LARGEST, _KEPT = 32 << 20, 1 << 30


def keep_freed_memory() -> None:
    """Give the next frame the memory of the last one, where the C library is glibc.

    By itself it returns large blocks to the system, which clears their pages before it hands them out again: hundreds
    of MB for every frame.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(_MMAP_THRESHOLD, _LARGEST)
    mallopt(_TRIM_THRESHOLD, _KEPT)
