"""What the decoder gets wrong about an object, learnt from its reference.

A frozen decoder misses the same things in every frame: spokes and lines, a light paw on light ground, the gap between
two legs. On the reference frame, where the truth is known, its answer is compared with the mask place by place, and the
difference is learnt as a function of what a place looks like: its colour against its surroundings, and what the
decoder, the classifier and the belief say of it. In later frames that much is added to the probability.

The function is a damped regression on Gaussian kernels around a few centres (much as a Gaussian process's subset of
regressors: Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006, section 8.3.1). It is 0 far from all
that the reference has taught, so that what looks like nothing there keeps the decoder's answer; a network, a forest or
a linear model would add something everywhere.

Places are those of the decoder's logits, (h, w) the part of them that the frame covers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from scipy.special import expit

from vos.distance import to_nearest
from vos.windows import window_of

# Gaussians around a place with which its colour is compared, the first ones also for gradients, in places.
_SURROUNDINGS, _GRADIENTS = (0.6, 1.5, 3.8), 2
# Gaussians over the answer's logits, and over what is added to the probability, in places.
_SMOOTHED, _SMOOTH = (1.1, 3.0, 7.5), 0.7
# Colours, 0 to 255, are divided by this, so that differences are about 1.
_COLOUR = 32.0
# Logits count within these bounds.
_LIMIT = 8.0
# Farther from a mask, in places, nothing is corrected.
_REACH = 11
# Places of all references that are kept.
_SAMPLES = 4096
# Weight, in the draw of these, of a place that the decoder has right; one that it has wholly wrong has 1 more.
_RIGHT = 0.05
# Centres, and the rounds of k-means that make them of the samples.
_CENTRES, _ROUNDS = 150, 6
# The answer's own logit counts this much more than any other number in the distance between places.
_ANSWER = 10.0**0.5
# Squared width of the kernel, per number, and damping of the regression.
_WIDTH, _DAMPING = 0.3, 1e-2
# Less than this is not added: it is what the regression leaves everywhere.
_NOISE = 0.05


def detail(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """What the pixels show at every place, whatever the objects: colour, colour against surroundings, gradients.

    Args:
        image: uint8 RGB (H, W, 3).
        size: (h, w).

    Returns:
        float32 (14, h, w).
    """
    small = cv2.resize(image, (size[1], size[0]), interpolation=cv2.INTER_AREA)
    colour = cv2.cvtColor(small, cv2.COLOR_RGB2LAB).astype(np.float32) / _COLOUR
    around = [_blurred(colour, sigma) for sigma in _SURROUNDINGS]
    planes = colour.transpose(2, 0, 1)
    maps = np.empty((3 + 3 * len(around) + _GRADIENTS, *size), np.float32)
    maps[:3] = planes
    for number, blurred in enumerate(around, 1):
        np.subtract(planes, blurred.transpose(2, 0, 1), out=maps[3 * number : 3 * number + 3])
    for number, blurred in enumerate(around[:_GRADIENTS], 3 + 3 * len(around)):
        light = cv2.extractChannel(blurred, 0)
        right, down = cv2.Sobel(light, cv2.CV_32F, 1, 0), cv2.Sobel(light, cv2.CV_32F, 0, 1)
        # Not cv2.magnitude, whose last bit depends on where in memory its arrays are: runs must repeat to the byte.
        np.sqrt(right * right + down * down, out=maps[number])
    return maps


@dataclass(frozen=True, eq=False)
class Looks:
    """What is known of the places in and around one object's answer.

    Attributes:
        window: rows and columns that hold them all.
        near: bool (h', w') in the window, P of them True.
        logits: float32 (P,), the answer's.
        numbers: float32 (P, D): the answer's logit, blurs of it, the other maps, the frame's detail.
    """

    window: tuple[slice, slice]
    near: np.ndarray
    logits: np.ndarray
    numbers: np.ndarray

    @classmethod
    def of(cls, answer: np.ndarray, maps: np.ndarray, detail: np.ndarray, also: np.ndarray | None = None) -> Looks:
        """Of one answer on one frame.

        Args:
            answer: float32 (h, w), logits.
            maps: float32 (K, h, w), what else is known of each place: logits, likeness.
            detail: float32 (C, h, w), as `detail` gives it.
            also: bool (h, w), places that the object is known to have, whatever the answer says.
        """
        inside = answer > 0 if also is None else (answer > 0) | also
        window, wide = (window_of(inside, reach) for reach in (_REACH, _REACH + round(2 * _SMOOTHED[-1])))
        near = to_nearest(inside[window]) <= _REACH
        # Blurred over more than the window, so that its edges do not show.
        limited = np.clip(answer[wide], -_LIMIT, _LIMIT)
        y, x = (slice(own.start - all_.start, own.stop - all_.start) for own, all_ in zip(window, wide, strict=True))
        own = [limited[y, x][near], *(_blurred(limited, sigma)[y, x][near] for sigma in _SMOOTHED)]
        others, shown = (part[:, window[0], window[1]][:, near] for part in (maps, detail))
        rest = np.clip(others, -_LIMIT, _LIMIT), shown
        return cls(window, near, answer[window][near], np.concatenate([np.stack(own), *rest], dtype=np.float32).T)


@dataclass(frozen=True, eq=False)
class Samples:
    """Places of an object's reference frames, in no order.

    Attributes:
        numbers: float32 (n, D), as in `Looks`; n is 4096 at most, however many references there are.
        missing: float32 (n,), what the answer's probability lacks of the truth, in [-1, 1].
        weights: float32 (n,), how many places each stands for, in proportion.
        references: how many frames they are from.
    """

    numbers: np.ndarray
    missing: np.ndarray
    weights: np.ndarray
    references: int = 1

    @classmethod
    def of(cls, looks: Looks, truth: np.ndarray) -> Samples:
        """Of one reference: the share of each place that the mask covers, float32 (h, w), against the answer.

        Of many places, those that the answer has wrong are picked more often, and weigh less.
        """
        missing = truth[looks.window][looks.near] - _probability(looks.logits)
        random = np.random.default_rng(0)
        if len(missing) <= _SAMPLES:
            return cls(looks.numbers, missing, np.ones_like(missing))._picked(random.permutation(len(missing)))
        chance = _RIGHT + np.abs(missing).astype(np.float64)
        chance /= chance.sum()
        weights = (1 / (chance * len(chance))).astype(np.float32)
        return cls(looks.numbers, missing, weights)._picked(random.choice(len(chance), _SAMPLES, p=chance))

    def joined(self, other: Samples) -> Samples:
        """These and those of one more reference, each reference with its share of the samples."""
        own = _SAMPLES * self.references // (self.references + 1)
        parts = (
            self._picked(np.arange(min(own, len(self.missing)))),
            other._picked(np.arange(min(_SAMPLES - own, len(other.missing)))),
        )
        numbers, missing, weights = (
            np.concatenate([getattr(part, name) for part in parts]) for name in ("numbers", "missing", "weights")
        )
        mixed = np.random.default_rng(self.references).permutation(len(missing))
        return Samples(numbers[mixed], missing[mixed], weights[mixed], self.references + 1)

    def _picked(self, which: np.ndarray) -> Samples:
        return Samples(self.numbers[which], self.missing[which], self.weights[which], self.references)


@dataclass(frozen=True, eq=False)
class Correction:
    """What to add to the probability of a place.

    Attributes:
        middle, scale: float32 (D,), what a place's numbers are shifted and multiplied by.
        centres: float32 (M, D).
        weights: float32 (M,).
    """

    middle: np.ndarray
    scale: np.ndarray
    centres: torch.Tensor
    weights: torch.Tensor

    @classmethod
    def fit(cls, samples: Samples, device: torch.device) -> Correction:
        """To one object's samples."""
        numbers = samples.numbers
        scale = 1 / (np.sqrt(_WIDTH * numbers.shape[1]) * (numbers.std(axis=0) + 1e-3))
        scale[0] *= _ANSWER
        middle, scale = numbers.mean(axis=0), scale.astype(np.float32)
        points = torch.from_numpy((numbers - middle) * scale).to(device)
        centres = _centres(points, min(_CENTRES, len(points)))
        kernel = _kernel(points, centres)
        weighted = kernel * torch.from_numpy(samples.weights / samples.weights.sum()).to(device)[:, None]
        damping = _DAMPING / len(centres) * torch.eye(len(centres), device=device)
        target = weighted.T @ torch.from_numpy(samples.missing).to(device)
        sums = weighted.T @ kernel + damping
        here = torch.device("cpu") if device.type == "mps" else device  # PyTorch 2.6 solves nothing on MPS
        return cls(middle, scale, centres, torch.linalg.solve(sums.to(here), target.to(here)).to(device))

    def state(self) -> dict[str, np.ndarray]:
        """As plain data."""
        return {
            "middle": self.middle,
            "scale": self.scale,
            "centres": self.centres.cpu().numpy(),
            "weights": self.weights.cpu().numpy(),
        }

    @classmethod
    def restored(cls, state: Mapping[str, np.ndarray], device: torch.device) -> Correction:
        """From a `state`."""
        centres, weights = (torch.tensor(state[name], device=device) for name in ("centres", "weights"))
        return cls(state["middle"], state["scale"], centres, weights)

    def __call__(self, looks: Looks) -> np.ndarray:
        """Logits of an answer's places as they should be, float32 (P,): the answer's own where nothing is missing."""
        points = torch.from_numpy((looks.numbers - self.middle) * self.scale).to(self.centres.device)
        added = np.zeros(looks.near.shape, np.float32)
        added[looks.near] = (_kernel(points, self.centres) @ self.weights).cpu().numpy()
        # One place is as easily wrong as right; what is missing is rarely a single place.
        more = cv2.GaussianBlur(added, (0, 0), _SMOOTH)[looks.near]
        least = _probability(np.float32(-_LIMIT))
        whole = np.clip(_probability(looks.logits) + more, least, 1 - least)
        return np.where(np.abs(more) < _NOISE, looks.logits, np.log(whole / (1 - whole))).astype(np.float32)


def _kernel(points: torch.Tensor, centres: torch.Tensor) -> torch.Tensor:
    """How near points, float32 (n, D), are to centres (M, D): (n, M), 0 to 1."""
    # Minus half the squared distance, in place: n x M numbers are most of the work.
    near = torch.addmm((centres**2).sum(dim=1) / -2, points, centres.T)
    return near.sub_((points**2).sum(dim=1, keepdim=True) / 2).exp_()


def _centres(points: torch.Tensor, count: int) -> torch.Tensor:
    """Middles of clusters, float32 (count, D), of points, float32 (n, D), by k-means."""
    picked = torch.from_numpy(np.random.default_rng(0).permutation(len(points))[:count])
    centres = points[picked.to(points.device)]
    for _ in range(_ROUNDS):
        member = torch.nn.functional.one_hot(torch.cdist(points, centres).argmin(dim=1), count).to(points)
        sizes = member.sum(dim=0)[:, None]
        centres = torch.where(sizes > 0, member.T @ points / sizes.clamp(min=1), centres)
    return centres


def _probability(logits: np.ndarray) -> np.ndarray:
    """float32, any shape, of logits within +-8 or taken as that."""
    return np.asarray(expit(np.clip(logits, -_LIMIT, _LIMIT)), dtype=np.float32)


def _blurred(maps: np.ndarray, sigma: float) -> np.ndarray:
    """A Gaussian blur of float32 (h, w) or (h, w, C); a wide one on a coarser grid."""
    h, w = maps.shape[:2]
    step = max(1, int(sigma / 1.9))
    if step == 1:
        return cv2.GaussianBlur(maps, (0, 0), sigma)
    small = cv2.resize(maps, (max(1, w // step), max(1, h // step)), interpolation=cv2.INTER_AREA)
    return cv2.resize(cv2.GaussianBlur(small, (0, 0), sigma / step), (w, h), interpolation=cv2.INTER_LINEAR)
