"""What a person types for a key of a configuration."""

import pytest

from controlplane.dashboard.typed import example_of, read_typed, written


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("int", " 64 ", 64),
        ("int", "-1", -1),
        ("float", "0.5", 0.5),
        ("float", "1e-3", 0.001),
        ("float", ".5", 0.5),
        ("bool", "true", True),
        ("str", " as it is ", " as it is "),
        ("list[str]", "a", ["a"]),
        ("list[str]", "a b ,c", ["a b", "c"]),
        ("list[str]", '["a,b", ""]', ["a,b", ""]),
        ("list[str]", "[]", []),
        ("list[int]", "0, 1", [0, 1]),
        ("list[int]", "[0, 1]", [0, 1]),
        ("dict", '{"a": {"b": 1}}', {"a": {"b": 1}}),
        # A type that a newer agent has.
        ("odd", "[1]", [1]),
    ],
)
def test_typed__fits__is_read(kind, text, value) -> None:
    read = read_typed(kind, text)
    assert (read, type(read)) == (value, type(value))


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("int", "1_0"),
        ("int", "1.0"),
        ("int", "٣"),
        ("int", "9" * 41),
        ("float", "nan"),
        ("float", "-inf"),
        ("float", "1e999"),
        ("float", "1_0.5"),
        ("float", "0x1p3"),
        ("bool", "True"),
        ("list[str]", "a,,b"),
        ("list[str]", "a,"),
        ("list[str]", '"a", "b"'),
        ("list[str]", '["a"'),
        ("list[str]", "[NaN]"),
        ("list[int]", "0, one"),
        ("dict", "name: value"),
        ("dict", '1, "other": 2'),
        ("dict", '{"a": 1, "a": 2}'),
    ],
)
def test_typed__does_not_fit__is_refused_in_its_own_words(kind, text) -> None:
    with pytest.raises(ValueError, match=r"^'.* is n(o|either)"):
        read_typed(kind, text)


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        ("list[str]", ["a b", "c"], "a b, c"),
        ("list[str]", ["a,b"], '["a,b"]'),
        ("list[str]", [" a"], '[" a"]'),
        ("list[str]", [""], '[""]'),
        ("list[str]", [], "[]"),
        ("list[int]", [0, 1], "0, 1"),
        ("dict", {"a": 1}, '{"a": 1}'),
        ("float", 0.5, "0.5"),
        ("bool", True, "true"),
        ("str", "as it is", "as it is"),
    ],
)
def test_written__read_again__is_the_same(kind, value, text) -> None:
    assert written(kind, value) == text
    assert read_typed(kind, text) == value


@pytest.mark.parametrize("kind", ["list[str]", "list[int]", "dict"])
def test_example__typed_as_it_stands__is_taken(kind) -> None:
    for way in example_of(kind, ["only one"]).split(" or "):
        assert isinstance(read_typed(kind, way), dict if kind == "dict" else list)
