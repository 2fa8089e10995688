"""Results out: indexed masks, an overlay video and a track file, written in the background."""

from __future__ import annotations

from vos.results.overlay import OverlayPainter
from vos.results.summary import ObjectSummary, Span, Summary
from vos.results.writer import KINDS, ResultWriter

__all__ = ["KINDS", "ObjectSummary", "OverlayPainter", "ResultWriter", "Span", "Summary"]
