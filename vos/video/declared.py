"""How long a file says that it is, in bytes: FFmpeg reads on past an end that came too early."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

_EBML_SEGMENT = 0x18538067
_BOX_SIZE_64, _BOX_TO_END = 1, 0
_TS_PACKETS = (188, 192, 204)


def missing_bytes(path: Path, format_name: str) -> int:
    """How many bytes of a file are not there, as far as its format tells; 0 if none, or if it does not tell.

    Args:
        format_name: as FFmpeg calls it, such as "matroska,webm".
    """
    try:
        size = path.stat().st_size
        with open(path, "rb") as file:
            if "matroska" in format_name:
                return max(0, _segment_end(file) - size)
            if "mov" in format_name:
                return max(0, _boxes_end(file, size) - size)
            if format_name == "avi":
                return max(0, _riff_end(file, size) - size)
    except OSError:
        return 0
    if format_name == "mpegts":
        return min(-size % packet for packet in _TS_PACKETS)
    return 0


def _segment_end(file: BinaryIO) -> int:
    """Matroska: where the segment ends; 0 where it does not say."""
    while True:
        identifier = _ebml_number(file, keep_marker=True)
        size = _ebml_number(file, keep_marker=False)
        if identifier is None or size is None:
            return 0
        if identifier == _EBML_SEGMENT:
            return file.tell() + size
        file.seek(size, os.SEEK_CUR)


def _ebml_number(file: BinaryIO, *, keep_marker: bool) -> int | None:
    """A number of 1 to 8 bytes whose leading zeros tell how many; None at the end, or where all its bits are set."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    length = 9 - first[0].bit_length()
    rest = file.read(length - 1)
    if len(rest) < length - 1:
        return None
    number = int.from_bytes(first + rest, "big")
    if keep_marker:
        return number
    number &= (1 << 7 * length) - 1
    return None if number == (1 << 7 * length) - 1 else number


def _boxes_end(file: BinaryIO, file_size: int) -> int:
    """MP4 and QuickTime: where the last of the outermost boxes ends."""
    start = 0
    while start + 8 <= file_size:
        file.seek(start)
        head = file.read(16)
        size = int.from_bytes(head[:4], "big")
        if size == _BOX_TO_END or not head[4:8].isalnum():
            return file_size
        if size == _BOX_SIZE_64:
            size = int.from_bytes(head[8:16], "big")
        start += max(size, 8)
    return start


def _riff_end(file: BinaryIO, file_size: int) -> int:
    """AVI: where the last RIFF chunk ends."""
    start = 0
    while start + 8 <= file_size:
        file.seek(start)
        head = file.read(8)
        if head[:4] != b"RIFF":
            return start
        size = int.from_bytes(head[4:], "little")
        start += 8 + size + size % 2
    return start
