"""What a run tells its user, in words."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from vos.cli.console import FrameProgress, duration, printable, stdout
from vos.references import Click, MaskReference, ReferencePlan, describe
from vos.references.types import coordinate_text
from vos.results import Labels, Span, Summary
from vos.types import FrameResult

_SPANS_SHOWN = 5
# Characters of a path.
_SHOWN = 200


def tell(quiet: bool, *lines: str) -> None:
    if not quiet:
        for line in lines:
            stdout.print(printable(line), markup=False)


def understood(plan: ReferencePlan) -> list[str]:
    """One line per reference, and the notes on how they were read."""
    lines = []
    for reference in plan.references:
        at = f" on frame {reference.frame}" if reference.frame else ""
        if isinstance(reference, MaskReference):
            lines.append(f"{reference.source}{at}: {describe(reference.mask)}")
        elif isinstance(reference, Click):
            where = f"{coordinate_text(reference.x)},{coordinate_text(reference.y)}"
            lines.append(f"click {where}{at}: {'' if reference.positive else 'not '}object {reference.id}")
        else:
            lines.append(f"{reference.source}{at}: object {reference.id}")
    return [*lines, *plan.notes]


def pointed_at(plan: ReferencePlan, result: FrameResult) -> list[str]:
    """One line per object that clicks or a box point at on this frame: how large that made it."""
    lines = []
    given = {item.id for item in result.objects if item.given}
    for object_id in plan.pointers(result.frame.index):
        mask = np.where(result.index_map == object_id, np.uint8(object_id), np.uint8(0))
        nothing = f"clicks change nothing of object {object_id}; a box or a mask would"
        what = describe(mask) if object_id in given else nothing
        lines.append(f"frame {result.frame.index}: {what}")
    return lines


def called(labels: Labels, ids: Sequence[int]) -> list[str]:
    """What the objects are called, in one line, and one for labels that are of none."""
    names = [f"{i} {label}" for i in ids if (label := labels.of(i)) is not None]
    lines = [f"labels: {', '.join(names)}"] if names else []
    if unused := labels.unused(ids):
        what = ", ".join(f"{i} ({labels.of(i)})" for i in unused)
        here = f"{'there is' if len(ids) == 1 else 'there are'} {', '.join(map(str, ids))}"
        lines.append(f"labels of objects that are not here: {what}; {here}")
    return lines


def ended(summary: Summary, labels: Labels, progress: FrameProgress) -> list[str]:
    """Where objects were lost, how many frames there are, and where the results are."""
    where = ", ".join(str(path) for path in summary.outputs)
    done = f"{frames(summary.frames)} in {duration(progress.seconds)} ({progress.rate:.2f} frames/s) -> {where}"
    return [*_lost(summary, labels), done] if summary.frames else []


def valid(summary: Summary) -> str:
    """Up to which frame results are there."""
    if summary.span is None:
        return "nothing is written"
    first, last = summary.span.first, summary.span.last
    return f"frame {first} is written and valid" if first == last else f"frames {first} to {last} are written and valid"


def system_error(error: OSError) -> str:
    """What the system refused, in one line."""
    reason = error.strerror or " ".join(str(error).split()) or type(error).__name__
    name = "" if error.filename is None else os.fsdecode(error.filename)
    return f"{name if len(name) <= _SHOWN else name[:_SHOWN] + '…'}: {reason}" if name else reason


def frames(count: int) -> str:
    return f"{count} frame{'' if count == 1 else 's'}"


def _lost(summary: Summary, labels: Labels) -> list[str]:
    """Where each object was lost or doubtful, one line per object that was."""
    lines = []
    for item in summary.objects:
        parts = [(what, spans) for what, spans in (("absent", item.absent), ("uncertain", item.uncertain)) if spans]
        if parts:
            label = labels.of(item.id)
            name = f"object {item.id}" if label is None else f"object {item.id} ({label})"
            lines.append(f"{name}: " + "; ".join(f"{what} in {_spans(spans)}" for what, spans in parts))
    return lines


def _spans(spans: Sequence[Span]) -> str:
    texts = [str(s.first) if s.first == s.last else f"{s.first}-{s.last}" for s in spans[:_SPANS_SHOWN]]
    more = f" and {len(spans) - _SPANS_SHOWN} more spans (see track.json)" if len(spans) > _SPANS_SHOWN else ""
    only = len(spans) == 1 and spans[0].first == spans[0].last
    return f"frame{'' if only else 's'} {', '.join(texts)}{more}"
