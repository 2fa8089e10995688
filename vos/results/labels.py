"""What objects are called, and the classes of a data set that this makes."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from vos.errors import SettingsError

_LONGEST = 100
# Unicode's categories of what ends lines, controls terminals, or is half of a character.
_NO_CHARACTERS = ("Cc", "Cs", "Zl", "Zp")
_FORM = re.compile(r"([^:]*?)\s*(?::((?:\s*[0-9]{1,9}\s*(?:,\s*[0-9]{1,9}\s*)*)?))?")
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
    _all: str | None = field(init=False, repr=False, compare=False)
    _own: dict[int, str] = field(init=False, repr=False, compare=False)
    _names: tuple[str, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Raises SettingsError where a text is no label."""
        everyone, own, names = None, {}, []
        for text in self.given:
            name, ids = _parsed(text)
            names.append(name)
            if ids is None:
                everyone = name
            else:
                own.update(dict.fromkeys(ids, name))
        for attribute, value in (("_all", everyone), ("_own", own), ("_names", tuple(dict.fromkeys(names)))):
            object.__setattr__(self, attribute, value)

    @property
    def names(self) -> tuple[str, ...]:
        """All labels, each once."""
        return self._names

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
        return len(self._names) + object_id if label is None else self._names.index(label) + 1

    def classes(self, ids: Iterable[int]) -> dict[int, str]:
        """The names of the classes by their numbers, ascending: all labels, and those of `ids` that have none."""
        named = dict(enumerate(self._names, start=1))
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
    found = None if ids is None else tuple(int(part) for part in ids.split(",") if part.strip())
    if wrong := [i for i in found or () if not 1 <= i <= _LAST_ID]:
        raise SettingsError(f"label {text!r}: ID must be 1 to {_LAST_ID}, got {wrong[0]}")
    return name, found
