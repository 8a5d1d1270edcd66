"""Strict reading of YAML. Expected values: the rules of YAML 1.2's core schema, and lines counted by hand."""

from __future__ import annotations

import math

import pytest

from fewslice.core.errors import ConfigError, DataError
from fewslice.settings import yaml as yaml_files


@pytest.fixture
def read(tmp_path):
    def read_text(text):
        path = tmp_path / "mine.yml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return yaml_files.read_yaml(path)

    return read_text


def problem(read, text):
    with pytest.raises((ConfigError, DataError)) as caught:
        read(text)
    message = str(caught.value)
    assert "Traceback" not in message and "mine.yml" in message
    return message


@pytest.mark.parametrize(
    "text, value",
    [
        ("1e-4", 1e-4), ("1E4", 1e4), ("-.5", -0.5), ("3.", 3.0), ("+7", 7), ("010", 10), ("0", 0),
        ("true", True), ("False", False), ("no", "no"), ("yes", "yes"), ("on", "on"), ("off", "off"), ("y", "y"),
        ("null", None), ("~", None), ("1_000", "1_000"), ("1:30", "1:30"), ("2024-01-01", "2024-01-01"),
        ("0x10", "0x10"), ("-.inf", -math.inf), ("1e", "1e"), ("=", "="), ("9" * 5000, math.inf),
    ],
)  # fmt: skip
def test_words_mean_what_yaml_1_2_says(read, text, value):
    found = read(f"a: {text}\n").values["a"]
    assert found == value and type(found) is type(value)


def test_quotes_make_texts_and_nan_a_number(read):
    assert math.isnan(yaml_files.scalar(".nan"))
    values = read("a: '1'\nb: \"true\"\nc: ''\n'1': x\n").values
    assert values == {"a": "1", "b": "true", "c": "", "1": "x"}


def test_every_value_knows_its_line(read):
    file = read("# what it is\na:\n  b: 1\n\n  c:\n    - 5\n    - [6, 7]\nd: {e: 1,\n  f: 2}\n")
    assert file.values == {"a": {"b": 1, "c": [5, [6, 7]]}, "d": {"e": 1, "f": 2}}
    lines = {("a",): 2, ("a", "b"): 3, ("a", "c"): 5, ("a", "c", 0): 6, ("a", "c", 1, 1): 7, ("d", "f"): 9}
    assert {place: file.line(place) for place in lines} == lines
    assert file.line(("a", "absent", 3)) == 2 and file.line(("absent",)) == 2 and file.problems == ()


def test_a_key_twice_is_a_problem_with_both_lines(read):
    file = read("a: 1\nb:\n  c: 1\n  d: 2\n  c: 3\na: 2\n")
    assert file.values == {"a": 1, "b": {"c": 1, "d": 2}}
    assert [line for line, _ in file.problems] == [5, 6]
    assert "duplicate key `c`, first in line 3" in file.problems[0][1] and "first in line 1" in file.problems[1][1]


@pytest.mark.parametrize(
    "text, line, words",
    [
        ("a:\n\tb: 1\n", 2, "spaces, not with tabs"),
        ("a: 1\nb: [1\nc: 2\n", 3, "brackets"),
        ("a: 1\n  b: 2\n", 2, "indentation"),
        ("a: 1\nb: 'x\n", 3, "quotes"),
        ("a: 1\nb: *x\n", 2, "undefined alias"),
        ("a: @x\n", 1, "cannot start"),
        ("a: 1\nb: !!python/object/apply:os.system [x]\n", 2, "tag"),
        ("a: 1\nb: !mine 2\n", 2, "tag"),
        ("a: 1\n---\nb: 2\n", 2, "second document"),
        ("a: 1\n<<: {b: 1}\n", 2, "merge keys"),
        ("a: 1\n? [b]\n: 1\n", 2, "key must be a word"),
        ("a: 1\nb: &x [*x]\n", 2, "contains itself"),
        ("a: 1\nb: " + "[" * 21 + "]" * 21 + "\n", 2, "nesting"),
        ("a: 1\nb: \x01\n", 2, "no text"),
        ("# only a remark\n", 1, "expected keys"),
        ("", 1, "expected keys"),
        ("\n- a\n- b\n", 2, "expected keys"),
        ("word\n", 1, "expected keys"),
    ],
)
def test_mistakes_are_named_with_their_line(read, text, line, words):
    message = problem(read, text)
    assert f"mine.yml:{line}: " in message and words in message


def test_aliases_repeat_a_value_and_may_not_multiply(read):
    assert read("a: &x [1]\nb: *x\n").values == {"a": [1], "b": [1]}
    lines = ["a0: &a0 [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    message = problem(read, "\n".join(lines))
    assert "more than 20000 values" in message


def test_deep_nesting_does_not_exhaust_the_stack(read):
    assert "nesting" in problem(read, "a: " + "[" * 50_000)


def test_files_that_cannot_be_read(tmp_path, read):
    assert "UTF-8" in problem(read, b"a: 1\nb: \xff\n") and "line 2" in problem(read, b"a: 1\nb: \xff\n")
    assert "more than 200000 bytes" in problem(read, "#" * 200_001)
    with pytest.raises(DataError, match=r"(?s)the folder holds mine.yml.*Did you mean .*mine.yml\?"):
        yaml_files.read_yaml(tmp_path / "mien.yml")
    with pytest.raises(DataError, match="a folder"):
        yaml_files.read_yaml(tmp_path)


def test_a_byte_order_mark_and_windows_lines_are_read(read):
    file = read(b"\xef\xbb\xbfa: 1\r\nb: 2\r\n")
    assert file.values == {"a": 1, "b": 2} and file.line(("b",)) == 2


@pytest.mark.parametrize(
    "text, value",
    [("3", 3), ("1e-4", 1e-4), ("[[0.1, 0]]", [[0.1, 0]]), ("", None), ("{a: 1}", {"a": 1}), ("'3'", "3")],
)
def test_values_of_overrides(text, value):
    assert yaml_files.parse_value(text) == value


@pytest.mark.parametrize("text", ["[1", "{a: 1, a: 2}", "!x 1", "a: b: c"])
def test_wrong_values_of_overrides(text):
    with pytest.raises(ConfigError):
        yaml_files.parse_value(text)
