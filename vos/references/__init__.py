"""What the user asks to track: masks, clicks and boxes, read, understood and checked."""

from vos.references.inputs import as_references, placed, plan_for
from vos.references.masks import UnderstoodMask, describe, read_mask, understand, understand_image
from vos.references.parse import parse_box, parse_click, parse_mask
from vos.references.plan import ClickBoxPrompt, FrameReferences, ReferencePlan
from vos.references.types import BoxPrompt, Click, MaskReference, Reference

__all__ = [
    "BoxPrompt",
    "Click",
    "ClickBoxPrompt",
    "FrameReferences",
    "MaskReference",
    "Reference",
    "ReferencePlan",
    "UnderstoodMask",
    "as_references",
    "describe",
    "parse_box",
    "parse_click",
    "parse_mask",
    "placed",
    "plan_for",
    "read_mask",
    "understand",
    "understand_image",
]
