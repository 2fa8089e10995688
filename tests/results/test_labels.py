"""What objects are called, and the classes of data sets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vos.errors import SettingsError
from vos.results import Labels


def test_without_labels_every_object_is_a_class_of_its_own() -> None:
    none = Labels()
    assert [none.of(1), none.number(1), none.number(255)] == [None, 1, 255]
    assert none.classes([7, 2]) == {2: "object 2", 7: "object 7"}
    assert none.unused([1]) == []


def test_one_label_for_all_and_others_for_some() -> None:
    labels = Labels(("mouse", "cat: 3, 4", "black cat:4", "dog:"))
    assert [labels.of(i) for i in (1, 3, 4, 9)] == ["mouse", "cat", "black cat", "mouse"]
    assert labels.names == ("mouse", "cat", "black cat", "dog")
    assert [labels.number(i) for i in (1, 3, 4, 9)] == [1, 2, 3, 1]
    assert labels.classes([1, 3]) == {1: "mouse", 2: "cat", 3: "black cat", 4: "dog"}
    assert labels.unused([1, 3]) == [4]


def test_objects_without_a_label_come_after_those_with_one() -> None:
    labels = Labels(("cat:7",))
    assert labels.classes([1, 7]) == {1: "cat", 2: "object 1"}
    assert [labels.number(i) for i in (1, 7)] == [2, 1]


@given(st.lists(st.tuples(st.sampled_from("abcde"), st.sets(st.integers(1, 255), max_size=4)), max_size=6))
def test_a_number_is_one_class(entries: list[tuple[str, set[int]]]) -> None:
    labels = Labels(tuple(f"{name}:{','.join(map(str, ids))}" for name, ids in entries))
    numbers = {i: labels.number(i) for i in range(1, 256)}
    classes = labels.classes(range(1, 256))
    for i, number in numbers.items():
        assert classes[number] == (labels.of(i) or f"object {i}")
    assert list(classes) == sorted(classes)
    assert set(numbers.values()) <= set(classes)
    assert len({number for i, number in numbers.items() if labels.of(i) is None}) == sum(
        labels.of(i) is None for i in numbers
    ), "an object without a label is a class of its own"


@given(st.permutations(["mouse", "cat", "dog"]))
def test_the_same_classes_in_several_clips(names: list[str]) -> None:
    one = Labels(("cat:1", "mouse:2")).among(names)
    other = Labels(("dog",)).among(names)
    assert one.names == other.names == tuple(names)
    assert (one.of(1), one.of(2), one.of(3)) == ("cat", "mouse", None)
    assert other.of(3) == "dog"
    assert one.among(names) is one


@pytest.mark.parametrize("name", ["Käfer", "white rat", "白\u3000鼠", "می\u200cخواهم", "👨\u200d👩", 'a "b", #c', "12"])
def test_names_in_any_writing(name: str) -> None:
    assert Labels((f"{name}:3",)).of(3) == name


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is not of the form NAME"),
        (" :1", "is not of the form NAME"),
        ("a:b", "is not of the form NAME"),
        ("a:1-3", "is not of the form NAME"),
        ("a:1 2", "is not of the form NAME"),
        ("two\nlines", "is not of the form NAME"),
        ("x" * 101, "is not of the form NAME"),
        ("a:0", "ID must be 1 to 255, got 0"),
        ("a:1,256", "ID must be 1 to 255, got 256"),
    ],
)
def test_labels_that_are_none(text: str, reason: str) -> None:
    with pytest.raises(SettingsError, match=reason) as refused:
        Labels((text,))
    assert "\n" not in str(refused.value)
