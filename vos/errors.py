"""Everything that `vos` raises on purpose.

Library code raises one of these with a single line that says what was wrong, what was found and what to do.
The command line prints that line and exits with code 2; it is the only place that prints or exits.
"""

from __future__ import annotations


def one_line(error: BaseException) -> str:
    """An error for the record: its text, and its kind where that is none of ours."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    if isinstance(error, GeneratorExit):
        return "stopped before the end"
    text = " ".join(str(error).split())
    return text if isinstance(error, VosError) else f"{type(error).__name__}: {text}"


class VosError(Exception):
    """Base of every error a user can cause or fix."""


class SettingsError(VosError):
    """An unknown preset, model, tracker or setting, or a value out of range."""


class SourceError(VosError):
    """A video or image source that cannot be opened, or that broke while being read."""


class ReferenceInputError(VosError):
    """A mask, click or box that cannot be understood or does not fit the frame it refers to."""


class WeightsError(VosError):
    """A checkpoint that is missing, damaged, of another model, or cannot be downloaded."""


class DeviceError(VosError):
    """A device that is not there."""


class TrackerError(VosError):
    """A tracker, most likely somebody else's, that does not do what trackers promise."""


class OutputError(VosError):
    """An output folder that cannot be written, or that already holds results."""


class ResumeError(OutputError):
    """What is kept of an interrupted run is damaged, or of another run."""


class EvaluationError(VosError):
    """Results or annotations that cannot be scored."""
