"""Pictures as videos hold them."""

from __future__ import annotations

import av
import numpy as np


def bt709(image: np.ndarray, pixels: str) -> av.VideoFrame:
    """A picture, uint8 RGB (H, W, 3), in BT.709, limited range, in a pixel format such as "yuv420p"."""
    picture = av.VideoFrame.from_ndarray(image, format="rgb24")
    # By one thread: in wide formats, where a width is no multiple of 8, the last row of one thread's part may run over
    # into the first row of the next one's.
    return picture.reformat(format=pixels, dst_colorspace="ITU709", dst_color_range="MPEG", threads=1)
