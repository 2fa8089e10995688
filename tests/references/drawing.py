"""Masks that the reference tests draw."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageDraw
from scipy.spatial import cKDTree

HEIGHT, WIDTH = 120, 161


def rectangle(value: int = 255, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """uint8 (height, width), a rectangle of `value` on 0."""
    mask = np.zeros((height, width), np.uint8)
    mask[height // 4 : height // 2, width // 4 : width // 2] = value
    return mask


def shape(kind: str, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """uint8 (height, width), 0 and 255, hard edges."""
    image = Image.new("L", (width, height))
    draw = ImageDraw.Draw(image)
    if kind == "disc":
        draw.ellipse([width * 0.3, height * 0.2, width * 0.7, height * 0.7], fill=255)
    elif kind == "rectangle":
        draw.rectangle([width * 0.2, height * 0.25, width * 0.65, height * 0.8], fill=255)
    elif kind == "star":
        angle = np.arange(10) * np.pi / 5
        radius = np.where(np.arange(10) % 2, 0.2, 0.45) * height
        draw.polygon(
            list(zip(width / 2 + radius * np.sin(angle), height / 2 + radius * np.cos(angle), strict=True)), fill=255
        )
    else:
        raise ValueError(kind)
    return np.asarray(image).copy()


def cells(
    count: int, *, height: int = HEIGHT, width: int = WIDTH, gap: float = 0, in_order: bool, seed: int = 0
) -> np.ndarray:
    """int64 (height, width): a Voronoi label map of up to `count` cells, touching or `gap` pixels apart."""
    rng = np.random.default_rng(seed)
    centres = np.stack([rng.uniform(0, height, count), rng.uniform(0, width, count)], axis=1)
    if in_order:
        rows = np.round(centres[:, 0] / height * np.sqrt(count))
        centres = centres[np.lexsort((centres[:, 1], rows))]
    y, x = np.mgrid[:height, :width]
    distance, index = cKDTree(centres).query(np.stack([y, x], -1).reshape(-1, 2), k=2)
    labels = (index[:, 0] + 1).reshape(height, width)
    labels[((distance[:, 1] - distance[:, 0]) < gap).reshape(height, width)] = 0
    return labels


def compressed(array: np.ndarray, quality: int, kind: str = "JPEG") -> io.BytesIO:
    """A lossy image file in memory."""
    file = io.BytesIO()
    Image.fromarray(array).save(file, kind, quality=quality)
    file.seek(0)
    return file
