"""The registry: names, duplicates and the answer to a wrong name. Messages are those that STYLE shows."""

from __future__ import annotations

import pytest

from fewslice.core.errors import ConfigError
from fewslice.core.registry import Registry, unknown_name


def test_registered_object_is_found_and_returned_unchanged():
    shapes = Registry("shape")

    @shapes.register("square")
    def square():
        return 4

    assert shapes.get("square") is square and square() == 4


def test_names_are_sorted():
    shapes = Registry("shape")
    for name in ("triangle", "square"):
        shapes.register(name)(name)
    assert shapes.names() == ["square", "triangle"]


def test_second_registration_is_a_defect():
    shapes = Registry("shape")
    shapes.register("square")(1)
    with pytest.raises(RuntimeError, match="The shape 'square' is registered twice"):
        shapes.register("square")(2)
    assert shapes.get("square") == 1


@pytest.mark.parametrize(
    "name, known, message",
    [
        (
            "sqare",
            ["square", "circle"],
            "Unknown shape 'sqare'. Did you mean 'square'? Known: circle, square.",
        ),
        ("xyz", ["square"], "Unknown shape 'xyz'. Known: square."),
        ("xyz", [], "Unknown shape 'xyz'. Known: none."),
        (7, ["square"], "Unknown shape 7. Known: square."),
    ],
)
def test_unknown_name_is_answered_with_the_nearest(name, known, message):
    assert unknown_name("shape", name, known) == message


def test_unknown_name_in_a_registry():
    shapes = Registry("shape")
    shapes.register("square")(1)
    with pytest.raises(ConfigError, match="Did you mean 'square'?"):
        shapes.get("squar")
