"""What objects are called, and the classes of a data set that this makes."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from vos.errors import SettingsError

_LONGEST = 100
# Unicode's categories of what ends lines, controls terminals, or is half of a character.
_NO_CHARACTERS = ("Cc", "Cs", "Zl", "Zp")
_ID = r"\s*[0-9]{1,9}\s*"
_FORM = re.compile(rf"([^:]*?)\s*(?::({_ID}(?:,{_ID})*|))?")
_LAST_ID = 255


@dataclass(frozen=True)
class Labels:
    """What objects are called, and the classes of data sets: one per label, in the order in which these were given.

    An object without a label is a class of its own. Classes are numbered from 1, labels before objects without one,
    so that clips with the same labels have the same numbers for them.

    Attributes:
        given: as text, in the order given: "mouse" for all objects that have no other, "mouse:1,2" for those two, and
            "mouse:" for none, which makes it a class that this clip does not show. Of two for one object the last
            holds.
    """

    given: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raises SettingsError where a text is no label."""
        texts = (self.given,) if isinstance(self.given, str) else self.given
        if not isinstance(texts, Sequence) or not all(isinstance(text, str) for text in texts):
            raise SettingsError(f"labels are texts such as 'mouse' or 'rat:2', got {self.given!r}")
        object.__setattr__(self, "given", tuple(texts))
        self._parsed  # noqa: B018

    @cached_property
    def _parsed(self) -> tuple[tuple[str, tuple[int, ...] | None], ...]:
        return tuple(_parsed(text) for text in self.given)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """All labels, each once."""
        return tuple(dict.fromkeys(name for name, _ in self._parsed))

    @cached_property
    def _own(self) -> dict[int, str]:
        return {object_id: name for name, ids in self._parsed for object_id in ids or ()}

    @cached_property
    def _all(self) -> str | None:
        return next((name for name, ids in reversed(self._parsed) if ids is None), None)

    def among(self, names: Sequence[str]) -> Labels:
        """The same labels of the same objects, where the classes are to be `names` in this order."""
        return self if self.names == tuple(names) else Labels((*(f"{name}:" for name in names), *self.given))

    def unused(self, ids: Iterable[int]) -> list[int]:
        """The objects that have a label and are not among `ids`, ascending."""
        return sorted(self._own.keys() - set(ids))

    def of(self, object_id: int) -> str | None:
        """An object's label; None where it has none."""
        return self._own.get(object_id, self._all)

    def number(self, object_id: int) -> int:
        """The number of an object's class."""
        label = self.of(object_id)
        return len(self.names) + object_id if label is None else self.names.index(label) + 1

    def classes(self, ids: Iterable[int]) -> dict[int, str]:
        """The names of the classes by their numbers, ascending: all labels, and those of `ids` that have none."""
        named = dict(enumerate(self.names, start=1))
        return named | {self.number(i): f"object {i}" for i in sorted(ids) if self.of(i) is None}


UNNAMED = Labels()


def _parsed(text: str) -> tuple[str, tuple[int, ...] | None]:
    """A label, and the objects that it is of; None for all of them."""
    match = _FORM.fullmatch(text.strip())
    name, ids = ("", None) if match is None else match.groups()
    if not 0 < len(name) <= _LONGEST or any(unicodedata.category(c) in _NO_CHARACTERS for c in name):
        raise SettingsError(
            f"label {text!r} is not of the form NAME[:ID,...], for example mouse or mouse:1,2; a name is one line of "
            f"1 to {_LONGEST} characters without a colon"
        )
    found = None if ids is None else tuple(map(int, ids.split(","))) if ids else ()
    if wrong := [i for i in found or () if not 1 <= i <= _LAST_ID]:
        raise SettingsError(f"label {text!r}: ID must be 1 to {_LAST_ID}, got {wrong[0]}")
    return name, found
