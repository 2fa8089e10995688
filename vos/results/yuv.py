"""Pictures as videos hold them."""

from __future__ import annotations

from typing import Any

import av
import numpy as np

_BT709 = 1  # the code of BT.709 as a matrix, as primaries and as a transfer function (ITU-T H.273)
_LIMITED_RANGE = 1


def tag_bt709(pictures: Any) -> None:
    """Say of a codec's context, or of a frame, that its pictures are as `bt709` makes them."""
    pictures.colorspace = pictures.color_primaries = pictures.color_trc = _BT709
    pictures.color_range = _LIMITED_RANGE


def bt709(image: np.ndarray, pixels: str) -> av.VideoFrame:
    """A picture, uint8 RGB (H, W, 3), in BT.709, limited range, in a pixel format such as "yuv420p"."""
    picture = av.VideoFrame.from_ndarray(image, format="rgb24")
    # By one thread: in wide formats, where a width is no multiple of 8, the last row of one thread's part may run over
    # into the first row of the next one's.
    return picture.reformat(format=pixels, dst_colorspace="ITU709", dst_color_range="MPEG", threads=1)
