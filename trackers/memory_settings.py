"""Options of the tracker of evidence."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from vos.tracking import Options

# More than this of anything drowns all else.
_Weight = Annotated[float, Field(ge=0, le=1000)]


class MemorySettings(Options):
    """Options of the tracker of evidence."""

    appearance: _Weight = Field(4.0, description="log-odds of a place that looks wholly like the object")
    motion: _Weight = Field(0.5, description="log-odds per logit of the last mask where motion carries it surely")
    beside: _Weight = Field(1.0, description="log-odds against a place that motion surely brings from outside it")
    others: _Weight = Field(3.0, description="log-odds against a place where motion surely carries another object")
    apart: _Weight = Field(
        4.0, description="log-odds against a place that looks more like another object, which is likely there"
    )
    given_back: _Weight = Field(
        1.0, description="log-odds from which a place is another's for good, whatever the decoder answers"
    )
    outside: _Weight = Field(
        2.0,
        description="log-odds against a place outside the carried mask, while nothing of the object is missing",
    )
    away: _Weight = Field(
        3.0, description="log-odds against a place, per object's width away from where motion carries the mask"
    )
    away_limit: _Weight = Field(4.0, description="the most that distance can speak against a place")
    absence: _Weight = Field(
        1.0,
        description="weight of what is known of where an object out of view is not",
    )
    company: _Weight = Field(
        0.3, description="how much less like the object what has been beside it for some frames counts"
    )
    damping: float = Field(0.01, ge=1e-6, le=1000, description="of the ridge regression")
    near: _Weight = Field(3.0, description="how much more a cell beside the object teaches than one far away")
    recent: float = Field(
        0.3, ge=0, le=1, description="weight of recent frames in the memory; the rest is the references'"
    )
    rate: float = Field(0.15, ge=0, le=1, description="weight of a new frame among the recent ones")
    learn_every: int = Field(
        3, ge=1, description="learn from one of so many frames that could be learnt, with the weight of them all"
    )
    min_score: float = Field(0.6, ge=0, le=1, description="score of a mask from which the memory learns")
    min_contrast: float = Field(
        0.7, ge=0, le=1, description="how far a mask must stand out from what is beside it, against usual, to be learnt"
    )
    vouched: float = Field(
        0.8, ge=0, le=1, description="IoU with the mask that motion carries, from which it need not stand out"
    )
    least: float = Field(-0.2, ge=-1, le=1, description="mean likeness of a mask that is still the object")
    return_margin: float = Field(
        0.4, ge=0, le=1, description="how much more likeness it takes to come back, or to be found after a cut"
    )
    cut_recall: float = Field(
        0.94,
        ge=0,
        le=1,
        description="how much of its last view a mask must show to be found after a cut, against usual",
    )
