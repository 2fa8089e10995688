"""How the program's memory is handed out."""

from __future__ import annotations

import ctypes

_ARENA_MAX = -8  # glibc's number of the option


def share_freed_memory() -> None:
    """Let threads allocate from one place, where the C library is glibc.

    By itself it gives each a place of its own, and what one has freed is of no use to the others: a quarter of a GB.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(_ARENA_MAX, 1)
