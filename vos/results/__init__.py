"""Results out: masks, mattes, data sets, measurements and an overlay video, written in the background."""

from __future__ import annotations

from vos.results.finished import is_finished
from vos.results.journal import Kept
from vos.results.kinds import DEFAULT_KINDS, KINDS
from vos.results.labels import Labels
from vos.results.overlay import OverlayPainter
from vos.results.sinks import Run
from vos.results.summary import ObjectSummary, Span, Summary
from vos.results.writer import ResultWriter

__all__ = [
    "DEFAULT_KINDS",
    "KINDS",
    "Kept",
    "Labels",
    "ObjectSummary",
    "OverlayPainter",
    "ResultWriter",
    "Run",
    "Span",
    "Summary",
    "is_finished",
]
