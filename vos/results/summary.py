"""What a run did, in a few numbers: frames, and where each object was lost."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from vos.types import FrameResult, State


@dataclass(frozen=True)
class Span:
    """Frames that followed each other in the run, first and last included."""

    first: int
    last: int


@dataclass(frozen=True)
class ObjectSummary:
    """The spans of frames in which an object was absent, and those in which it was uncertain."""

    id: int
    absent: tuple[Span, ...]
    uncertain: tuple[Span, ...]


@dataclass(frozen=True)
class Summary:
    """What was written.

    Attributes:
        frames: frames written to every output.
        complete: nothing went wrong and nobody interrupted.
        error: why it is not complete, one line; None where it is.
        objects: one entry per object, in the order in which they entered.
        outputs: the files and folders that now hold results.
        span: the first and the last of the frames; None where there are none.
    """

    frames: int
    complete: bool
    error: str | None
    objects: tuple[ObjectSummary, ...]
    outputs: tuple[Path, ...]
    span: Span | None = None


@dataclass
class _Spans:
    closed: list[Span] = field(default_factory=list)
    last: int = -1  # result in them, counted as they came: frames may be left out

    def add(self, frame: int, count: int) -> None:
        if self.closed and self.last == count - 1:
            self.closed[-1] = Span(self.closed[-1].first, frame)
        else:
            self.closed.append(Span(frame, frame))
        self.last = count


class SpanLog:
    """Collects the spans of all objects; takes memory by the span, not by the frame."""

    def __init__(self) -> None:
        self._spans: dict[int, dict[State, _Spans]] = {}
        self._count = 0

    def add(self, result: FrameResult) -> None:
        self._count += 1
        for item in result.objects:
            spans = self._spans.setdefault(item.id, {State.ABSENT: _Spans(), State.UNCERTAIN: _Spans()})
            if item.state in spans:
                spans[item.state].add(result.frame.index, self._count)

    def objects(self) -> tuple[ObjectSummary, ...]:
        return tuple(
            ObjectSummary(id, tuple(spans[State.ABSENT].closed), tuple(spans[State.UNCERTAIN].closed))
            for id, spans in self._spans.items()
        )
