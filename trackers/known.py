"""What the tracker of evidence knows of one object."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch

from trackers.absence import Absence
from trackers.appearance import Sums


@dataclass(frozen=True, eq=False)
class Known:
    """One object.

    Attributes:
        reference: sums over its reference frames, their mean.
        references: how many those are.
        recent: sums over the frames that were learnt; None before the first.
        first, now: the classifier of the references alone, and the one with memory, float32 (D + 1,).
        logits: float32 (h, w), the last frame's, limited to +-6, to the final mask, and to what was given back to it
            (see `trackers.apart.given_back`).
        area: places of the grid that the object usually takes.
        largest: those that it took at most, slowly forgotten.
        view: cells of it on the last frame that was learnt, or given, float32 (P, D) (see `trackers.appearance.view`).
        sure: how much of the last mask looked like the object, and of the object was in it, in [0, 1].
        hold: how much the last mask ties the object to its place, in [0, 1]: `sure`, but growing slowly.
        lost: it had no mask in the last frame.
        cut_off: it has had none since the last cut.
        contrast: what is usual; None before the first frame that was tracked.
        recall: how much of its view the frames after it usually show; None before the first.
        passed: frames that could have been learnt since the last that was.
        absence: where it was not in the last frame; None while `hold` is 1 (it was where its mask was), and while it
            is `cut_off` (nothing is known).
        company: what has been seen beside it (see `trackers.company`) up to the last frame; None where nothing has.
    """

    reference: Sums
    references: int
    recent: Sums | None
    first: torch.Tensor
    now: torch.Tensor
    logits: np.ndarray
    area: float
    largest: float
    view: torch.Tensor
    sure: float = 1.0
    hold: float = 1.0
    lost: bool = False
    cut_off: bool = False
    contrast: float | None = None
    recall: float | None = None
    passed: int = 0
    absence: Absence | None = None
    company: np.ndarray | None = None

    def own(self, recent: float) -> tuple[torch.Tensor, torch.Tensor]:
        """Means of x x' and of x over its own cells: the references' and a share of those of recent frames."""
        known, new = self.reference, self.recent
        if new is None:
            return known.own_gram, known.own_mean
        return known.own_gram.lerp(new.own_gram, recent), known.own_mean.lerp(new.own_mean, recent)

    def to(self, device: torch.device) -> Known:
        """The same with its tensors there."""
        if self.reference.gram.device == device:
            return self
        recent = None if self.recent is None else self.recent.to(device)
        first, now, view = self.first.to(device), self.now.to(device), self.view.to(device)
        return replace(self, reference=self.reference.to(device), recent=recent, first=first, now=now, view=view)

    def state(self) -> dict[str, Any]:
        """As plain data. Classifiers too: solved again, with other threads, they would be rounded otherwise."""
        return {
            **{name: getattr(self, name) for name in _PLAIN},
            "reference": _plain(self.reference),
            "recent": None if self.recent is None else _plain(self.recent),
            "first": self.first.cpu().numpy(),
            "now": self.now.cpu().numpy(),
            "view": self.view.cpu().numpy(),
            "absence": None if self.absence is None else self.absence.state(),
        }

    @classmethod
    def restored(cls, state: Mapping[str, Any]) -> Known:
        """From a `state`."""
        return cls(
            **{name: state[name] for name in _PLAIN},
            reference=_sums(state["reference"]),
            first=torch.tensor(state["first"]),
            now=torch.tensor(state["now"]),
            view=torch.tensor(state["view"]),
            recent=None if state["recent"] is None else _sums(state["recent"]),
            absence=None if state["absence"] is None else Absence(**state["absence"]),
        )


# What is told as it is.
_PLAIN = [f.name for f in fields(Known) if f.name not in ("reference", "recent", "first", "now", "view", "absence")]


def _plain(sums: Sums) -> list[np.ndarray]:
    return [part.cpu().numpy() for part in sums.parts]


def _sums(kept: list[np.ndarray]) -> Sums:
    # Copied, so that they lie in memory as they did: solvers round otherwise where rows are aligned otherwise.
    return Sums(*(torch.tensor(part) for part in kept))
