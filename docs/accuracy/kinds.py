"""The sequences of DAVIS 2016 as other kinds of footage, so that one set of sequences is a test of more:

python docs/accuracy/kinds.py DAVIS OUT [KIND ...]
vos eval RESULTS --davis OUT/dark --year 2016 --run --preset best

Each kind is a DAVIS folder of its own under OUT; the truth goes through the same changes as the pictures.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path

import av
import cv2
import numpy as np
from PIL import Image

from eval.davis import open_dataset

# Pictures uint8 RGB (H, W, 3), truth uint8 (H, W), 0 or 1, and a random generator -> both, changed.
Clip = tuple[list[np.ndarray], list[np.ndarray]]
Kind = Callable[[list[np.ndarray], list[np.ndarray], np.random.Generator], Clip]


def _uint8(image: np.ndarray) -> np.ndarray:
    return np.clip(image, 0, 255).astype(np.uint8)


def grey(images: list[np.ndarray], truth: list[np.ndarray], rng: np.random.Generator) -> Clip:
    return [np.repeat(cv2.cvtColor(i, cv2.COLOR_RGB2GRAY)[..., None], 3, 2) for i in images], truth


def dark(images: list[np.ndarray], truth: list[np.ndarray], rng: np.random.Generator) -> Clip:
    """A fifth of the light, with noise."""
    return [_uint8(i * 0.2 + rng.normal(0, 6, i.shape)) for i in images], truth


def noise(images: list[np.ndarray], truth: list[np.ndarray], rng: np.random.Generator) -> Clip:
    return [_uint8(i + rng.normal(0, 25, i.shape)) for i in images], truth


def blur(images: list[np.ndarray], truth: list[np.ndarray], rng: np.random.Generator) -> Clip:
    return [cv2.GaussianBlur(i, (0, 0), 3) for i in images], truth


def compressed(images: list[np.ndarray], truth: list[np.ndarray], rng: np.random.Generator) -> Clip:
    """H.264 of quality 40, which shows its blocks."""
    # Without mbtree, by which x264 does not make the same of the same pictures every time.
    options = {"crf": "40", "preset": "medium", "x264-params": "mbtree=0"}
    file = BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=24, options=options)
        stream.height, stream.width, stream.pix_fmt = *images[0].shape[:2], "yuv420p"
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    file.seek(0)
    with av.open(file) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)], truth


def small(images: list[np.ndarray], truth: list[np.ndarray], rng: np.random.Generator) -> Clip:
    """320x180."""
    size = (320, 180)
    return (
        [cv2.resize(i, size, interpolation=cv2.INTER_AREA) for i in images],
        [cv2.resize(t, size, interpolation=cv2.INTER_NEAREST) for t in truth],
    )


def flicker(images: list[np.ndarray], truth: list[np.ndarray], rng: np.random.Generator) -> Clip:
    """Every frame half to 1.4 times as bright."""
    gains = rng.uniform(0.5, 1.4, len(images))
    return [_uint8(i.astype(float) * gain) for i, gain in zip(images, gains, strict=True)], truth


def fade(images: list[np.ndarray], truth: list[np.ndarray], rng: np.random.Generator) -> Clip:
    """Down to a quarter of the light."""
    gains = 1 - 0.75 * np.linspace(0, 1, len(images))
    return [_uint8(i * gain) for i, gain in zip(images, gains, strict=True)], truth


def cast(images: list[np.ndarray], truth: list[np.ndarray], rng: np.random.Generator) -> Clip:
    """From reddish to bluish."""
    shares = np.linspace(0, 1, len(images))
    return [_uint8(i * [1.25 - s / 2, 1, 0.75 + s / 2]) for i, s in zip(images, shares, strict=True)], truth


def repeated(images: list[np.ndarray], truth: list[np.ndarray], rng: np.random.Generator) -> Clip:
    """Every third frame twice, as after a change of rate."""
    order = [j for i in range(len(images)) for j in ([i, i] if i % 3 == 2 else [i])]
    return [images[j] for j in order], [truth[j] for j in order]


def still(images: list[np.ndarray], truth: list[np.ndarray], rng: np.random.Generator) -> Clip:
    """Twenty frames of one picture in the middle."""
    middle = len(images) // 2
    order = [*range(middle), *[middle] * 20, *range(middle, len(images))]
    return [images[j] for j in order], [truth[j] for j in order]


def shaken(images: list[np.ndarray], truth: list[np.ndarray], rng: np.random.Generator) -> Clip:
    """Each frame 4 % of the picture and 3 degrees off at most, at random."""
    height, width = truth[0].shape
    middle, ways = np.array([width, height]) / 2, []
    for _ in images:
        angle = np.deg2rad(rng.uniform(-3, 3))
        shift = rng.uniform(-0.04, 0.04, 2) * [width, height]
        turn = 1.12 * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        ways.append(np.float32(np.c_[turn, middle - turn @ middle + shift]))
    return _warped(images, truth, ways)


def zoomed_in(images: list[np.ndarray], truth: list[np.ndarray], rng: np.random.Generator) -> Clip:
    """To three times the size, by and by."""
    return _zoomed(images, truth, 3 ** np.linspace(0, 1, len(images)))


def zoomed_out(images: list[np.ndarray], truth: list[np.ndarray], rng: np.random.Generator) -> Clip:
    """From three times the size."""
    return _zoomed(images, truth, 3 ** (1 - np.linspace(0, 1, len(images))))


def upright(images: list[np.ndarray], truth: list[np.ndarray], rng: np.random.Generator) -> Clip:
    """270x480, around the object, as a telephone held upright takes it."""
    height, width = truth[0].shape
    part = height * 9 // 16 // 2 * 2
    starts = [int(min(max(x - part / 2, 0), width - part)) for x, _ in _middles(truth)]
    return [[one[:, x : x + part] for one, x in zip(whole, starts, strict=True)] for whole in (images, truth)]  # type: ignore[return-value]


def mirrored(images: list[np.ndarray], truth: list[np.ndarray], rng: np.random.Generator) -> Clip:
    return [i[:, ::-1] for i in images], [t[:, ::-1] for t in truth]


def turned(images: list[np.ndarray], truth: list[np.ndarray], rng: np.random.Generator) -> Clip:
    """A quarter turn: everything lies on its side."""
    return [np.rot90(i) for i in images], [np.rot90(t) for t in truth]


def _middles(truth: Sequence[np.ndarray]) -> np.ndarray:
    """The object's middles, xy, smoothed over 15 frames; where it is away, the last one."""
    found: list[tuple[float, float]] = []
    for mask in truth:
        y, x = np.nonzero(mask)
        found.append((x.mean(), y.mean()) if len(x) else found[-1])
    padded = np.pad(np.array(found), ((7, 7), (0, 0)), mode="edge")
    return np.stack([np.convolve(padded[:, axis], np.ones(15) / 15, "valid") for axis in range(2)], axis=1)


def _zoomed(images: list[np.ndarray], truth: list[np.ndarray], scales: np.ndarray) -> Clip:
    height, width = truth[0].shape
    ways = []
    for scale, (x, y) in zip(scales, _middles(truth), strict=True):
        half = np.array([width, height]) / 2 / scale
        x, y = np.clip([x, y], half, np.array([width, height]) - half)
        ways.append(np.float32([[scale, 0, width / 2 - scale * x], [0, scale, height / 2 - scale * y]]))
    return _warped(images, truth, ways)


def _warped(images: list[np.ndarray], truth: list[np.ndarray], ways: Sequence[np.ndarray]) -> Clip:
    """Each picture by its affine map, float32 (2, 3), mirrored where it ends."""
    size = (truth[0].shape[1], truth[0].shape[0])
    return (
        [
            cv2.warpAffine(i, way, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
            for i, way in zip(images, ways, strict=True)
        ],
        [cv2.warpAffine(t, way, size, flags=cv2.INTER_NEAREST) for t, way in zip(truth, ways, strict=True)],
    )


KINDS: dict[str, Kind] = {
    kind.__name__.replace("_", "-"): kind
    for kind in (
        grey, dark, noise, blur, compressed, small, flicker, fade, cast, repeated, still, shaken, zoomed_in, zoomed_out,
        upright, mirrored, turned,
    )
}  # fmt: skip


def _write(davis: Path, out: Path, name: str, kind: Kind) -> None:
    frames = sorted((davis / "JPEGImages" / "480p" / name).iterdir())
    images = [np.array(Image.open(path).convert("RGB")) for path in frames]
    truth = []
    for path in frames:
        mask = np.array(Image.open(davis / "Annotations" / "480p" / name / f"{path.stem}.png"))
        truth.append(((mask if mask.ndim == 2 else mask[..., 0]) > 0).astype(np.uint8))
    images, truth = kind(images, truth, np.random.default_rng(7 * len(name) + len(frames)))
    places = [out / folder / "480p" / name for folder in ("JPEGImages", "Annotations")]
    for place in places:
        place.mkdir(parents=True)
    for index, (image, mask) in enumerate(zip(images, truth, strict=True)):
        Image.fromarray(image).save(places[0] / f"{index:05d}.jpg", quality=95)
        Image.fromarray(mask * 255).save(places[1] / f"{index:05d}.png")


parser = argparse.ArgumentParser(description="The sequences of DAVIS 2016 as other kinds of footage.")
parser.add_argument("davis", type=Path)
parser.add_argument("out", type=Path)
parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"of {', '.join(KINDS)}; all by default")
given = parser.parse_args()
if unknown := sorted(set(given.kinds) - set(KINDS)):
    parser.error(f"unknown kind {unknown[0]}; there are {', '.join(KINDS)}")

names = open_dataset(given.davis, year=2016).names
for wanted in given.kinds or KINDS:
    root = given.out / wanted
    for name in names:
        _write(given.davis, root, name, KINDS[wanted])
    lists = root / "ImageSets" / "2016"
    lists.mkdir(parents=True)
    (lists / "val.txt").write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
print(f"{', '.join(given.kinds or KINDS)}: in {given.out}")
