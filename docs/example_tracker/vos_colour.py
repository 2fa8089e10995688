import cv2
import numpy as np
from pydantic import Field

from vos.models.features import Features
from vos.tracking import Options
from vos.types import Frame, FrameResult, Prompts
from vos.windows import grown_box


class ColourSettings(Options):
    margin: int = Field(10, ge=0, description="pixels by which the box is grown on every side")
    min_likeness: float = Field(0.1, ge=0, le=1, description="mean likeness in the box; less is not here")


class ColourTracker:
    """The object's colours (histogram back-projection), followed by mean shift while it is seen."""

    Settings = ColourSettings

    def __init__(self, settings: ColourSettings) -> None:
        self._settings = settings
        self._likeness: dict[int, np.ndarray] = {}  # object -> P(object | colour), in the order of `add`
        self._windows: dict[int, tuple[int, int, int, int]] = {}  # those that are here: x, y, width, height

    def add(self, object_id: int, frame: Frame, features: Features, mask: np.ndarray) -> None:
        colours = _colours(frame.image)
        inside, anywhere = (np.bincount(part, minlength=512) for part in (colours[mask], colours.ravel()))
        self._likeness[object_id] = (inside / np.maximum(anywhere, 1)).astype(np.float32)
        self._windows[object_id] = cv2.boundingRect(mask.astype(np.uint8))

    def locate(self, frame: Frame, features: Features) -> Prompts:
        n, colours = len(self._likeness), _colours(frame.image)
        points, labels = np.zeros((n, 1, 2), dtype=np.float32), np.full((n, 1), -1, dtype=np.int8)
        boxes = np.full((n, 4), np.nan, dtype=np.float32)
        for row, (object_id, likeness) in enumerate(self._likeness.items()):
            if object_id not in self._windows:
                continue
            like = likeness[colours]
            _, (x, y, dx, dy) = cv2.meanShift(like, self._windows[object_id], (cv2.TERM_CRITERIA_COUNT, 20, 0))
            if like[y : y + dy, x : x + dx].mean() < self._settings.min_likeness:
                continue
            _, _, _, peak = cv2.minMaxLoc(cv2.blur(like, (9, 9))[y : y + dy, x : x + dx])
            points[row, 0], labels[row] = np.add((x, y), peak), 1
            boxes[row] = grown_box((x, y, x + dx - 1, y + dy - 1), self._settings.margin, frame.size)
        return Prompts(points, labels, boxes)

    def update(self, result: FrameResult) -> None:
        boxes = {known.id: map(int, known.box) for known in result.objects if known.box}
        self._windows = {object_id: (x0, y0, x1 - x0 + 1, y1 - y0 + 1) for object_id, (x0, y0, x1, y1) in boxes.items()}


def _colours(image: np.ndarray) -> np.ndarray:
    """Each pixel's colour in eight steps per channel, (H, W), 0 to 511."""
    return np.asarray((image >> 5) @ np.array([64, 8, 1]))
