"""The trackers installed under the entry-point group `vos.trackers`, or registered in this process, by name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from inspect import getdoc
from typing import Any

from pydantic import BaseModel

from vos.errors import SettingsError
from vos.tracking import CombinedTracker, Resumable, Tracker

GROUP = "vos.trackers"
JOIN = "+"
_OURS = "persam-vos"
_NAME = re.compile(r"[A-Za-z0-9][\w-]*", re.ASCII)
_REGISTERED: dict[str, Any] = {}


@dataclass(frozen=True)
class InstalledTracker:
    """A tracker that some installed distribution offers.

    Attributes:
        name: what to call it in settings.
        distribution: the distribution's name and version.
        licence: as its class says in `licence`, text; else that of the distribution; "-" where neither says.
        summary: the first line of its class's docstring.
        problem: why it cannot be used, in one line; None if it can. A class whose module can be imported without a
            package that its objects need says so in `requires`: the package's import name -> how to get it.
    """

    name: str
    distribution: str
    licence: str
    summary: str
    problem: str | None = None


def is_resumable(parts: Iterable[str]) -> bool:
    """Whether trackers of these names can go on in another process."""
    return all(issubclass(tracker_class(part), Resumable) for part in parts)


def register_tracker(name: str, made_by: type[Tracker]) -> None:
    """Make a tracker known by a name in this process, as if it were installed; of two with one name the last holds.

    Args:
        name: what to call it in settings, {"tracker.name": name}.
        made_by: its class (see `vos.tracking.Tracker`).

    Raises:
        SettingsError: no name, or no such class.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise SettingsError(f"{name!r} is no name for a tracker; use letters, digits, - and _")
    _check_class(f"tracker '{name}'", made_by)
    _REGISTERED[name] = made_by


def known_trackers() -> tuple[str, ...]:
    """Names of the trackers that are installed or registered."""
    return tuple(sorted({*_installed(), *_REGISTERED}))


def installed_trackers() -> tuple[InstalledTracker, ...]:
    """The installed trackers by name, those that cannot be loaded included."""
    return tuple(_described(point) for _, point in sorted(_installed().items()))


def tracker_class(name: str) -> Any:
    """The class behind a name; SettingsError lists the installed ones, or says why it cannot be loaded."""
    if name in _REGISTERED:
        return _REGISTERED[name]
    points = _installed()
    if name not in points:
        raise SettingsError(f"unknown tracker '{name}'; installed: {', '.join(known_trackers()) or 'none'}")
    try:
        found = points[name].load()
    except Exception as error:  # whatever it does as it is imported
        kind = "" if isinstance(error, ImportError | AttributeError) else f"{type(error).__name__}: "
        reason = " ".join(f"{kind}{error}".split())
        raise SettingsError(
            f"tracker '{name}' of {_distribution(points[name])} cannot be loaded: {reason}; "
            "install what it needs or choose another"
        ) from error
    _check_class(f"tracker '{name}' of {_distribution(points[name])}", found)
    return found


def _check_class(what: str, found: Any) -> None:
    options = getattr(found, "Settings", None)
    if not (isinstance(found, type) and isinstance(options, type) and issubclass(options, BaseModel)):
        raise SettingsError(
            f"{what} is none: a tracker is a class, and its attribute Settings a pydantic model of its options"
        )
    if lacking := [name for name in ("add", "locate", "update") if not callable(getattr(found, name, None))]:
        raise SettingsError(f"{what} is none: it has no method {', '.join(lacking)}")


def tracker_parts(name: str) -> tuple[str, ...]:
    """The trackers in a name, which joins several with +: "matching+klt" -> ("matching", "klt").

    Raises:
        SettingsError: a part that is not installed, or is named twice.
    """
    parts = tuple(part.strip() for part in name.split(JOIN))
    for k, part in enumerate(parts):
        tracker_class(part)
        if part in parts[:k]:
            raise SettingsError(f"tracker '{name}' names '{part}' twice; name each part once")
    return parts


def check_trackers(names: Iterable[str]) -> None:
    """SettingsError for a tracker that needs a package which is not installed; it says how to get it."""
    for name in names:
        problem = _missing(name, tracker_class(name))
        if problem is not None:
            raise SettingsError(problem)


def make_tracker(options: Mapping[str, BaseModel]) -> Tracker:
    """A new tracker from its options by name, or from several a `CombinedTracker` of them in that order.

    Raises:
        VosError: see `check_trackers`, and whatever else one of them needs and does not find.
    """
    check_trackers(options)
    parts: list[Tracker] = [tracker_class(name)(chosen) for name, chosen in options.items()]
    return parts[0] if len(parts) == 1 else CombinedTracker(parts)


def _installed() -> Mapping[str, EntryPoint]:
    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=GROUP):
        # Of several with one name our own, or else the first on the path, as Python imports it.
        if point.name not in found or (point.dist is not None and point.dist.name == _OURS):
            found[point.name] = point
    return found


def _distribution(point: EntryPoint) -> str:
    return "an unknown distribution" if point.dist is None else f"{point.dist.name} {point.dist.version}"


def _missing(name: str, made_by: Any) -> str | None:
    """What the class of a tracker requires and is not installed, in one line; None if nothing."""
    try:
        for package, how in dict(getattr(made_by, "requires", {})).items():
            if not _is_there(package):
                return f"tracker '{name}' needs the package {package}, which is not installed; get it with: {how}"
    except (TypeError, ValueError, AttributeError) as error:
        return f"tracker '{name}' says in requires what is no package: {' '.join(str(error).split())}"
    return None


def _is_there(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ImportError:  # the package that it is part of
        return False


def _licence(point: EntryPoint) -> str:
    """What the distribution's metadata say: an expression such as Apache-2.0, or the older field if it is one line."""
    for field in ("License-Expression", "License"):
        if point.dist and field in point.dist.metadata and "\n" not in (said := point.dist.metadata[field]):
            return said
    return "-"


def _described(point: EntryPoint) -> InstalledTracker:
    origin = _distribution(point)
    try:
        found = tracker_class(point.name)
    except SettingsError as error:
        return InstalledTracker(point.name, origin, _licence(point), "", str(error))
    said = getattr(found, "licence", None)
    summary = (getdoc(found) or "").partition("\n")[0]
    licence = said if isinstance(said, str) else _licence(point)
    return InstalledTracker(point.name, origin, licence, summary, _missing(point.name, found))
