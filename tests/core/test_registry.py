"""The registry: names, duplicates and the answer to a wrong name. Messages are those that STYLE shows."""

from __future__ import annotations

import pytest

from fewslice.core import registry
from fewslice.core.errors import ConfigError
from fewslice.core.registry import Registry, unknown_name
from tests.registries import temporary

SHAPES = Registry("shape")


@pytest.fixture
def shapes():
    with temporary(SHAPES):
        yield SHAPES


def test_registered_objects_are_found_unchanged_and_sorted(shapes):
    @shapes.register("square")
    def square():
        return 4

    shapes.register("circle")(1)
    assert shapes.get("square") is square and square() == 4 and shapes.names() == ["circle", "square"]
    with pytest.raises(ConfigError, match="Did you mean 'square'?"):
        shapes.get("squar")


def test_second_registration_is_a_defect(shapes):
    shapes.register("square")(1)
    with pytest.raises(RuntimeError, match="The shape 'square' is registered twice"):
        shapes.register("square")(2)
    assert shapes.get("square") == 1


def test_what_is_temporary_is_forgotten(shapes):
    shapes.register("square")(1)
    with pytest.raises(KeyError), temporary(shapes):
        shapes.register("triangle")(2)
        raise KeyError
    assert shapes.names() == ["square"]
    shapes.register("triangle")(3)
    assert shapes.get("triangle") == 3


def test_tables_are_found_by_their_kind(shapes):
    shapes.register("square")(1)
    assert registry.of("shape") is shapes and shapes in registry.tables()
    assert registry.of("colour").names() == []  # nothing that was imported defines it
    colours = Registry("colour")
    assert registry.of("colour") is colours
    with pytest.raises(RuntimeError, match="two tables of the kind 'shape'"):
        Registry("shape")


def test_what_comes_with_the_software_is_imported_when_a_name_is_asked_for(tmp_path, monkeypatch):
    (tmp_path / "birds").mkdir()
    (tmp_path / "birds" / "__init__.py").write_text(
        "from fewslice.core.registry import Registry\nBIRDS = Registry('bird', __name__)\n"
    )
    for name in ("finch", "robin"):
        (tmp_path / "birds" / f"{name}.py").write_text(f"from birds import BIRDS\n\nBIRDS.register('{name}')(1)\n")
    monkeypatch.syspath_prepend(tmp_path)
    import birds.robin

    assert birds.BIRDS._objects.keys() == {"robin"}
    with pytest.raises(RuntimeError, match=r"'finch' is registered twice. The other one: .*birds.finch\.py:3"):
        birds.BIRDS.register("finch")(2)
    assert birds.BIRDS.names() == ["finch", "robin"]
    assert birds.BIRDS.from_file(tmp_path / "birds" / "finch.py") == ["finch"]


@pytest.mark.parametrize(
    "name, known, message",
    [
        ("sqare", ["square", "circle"], "Unknown shape 'sqare'. Did you mean 'square'? Known: circle, square."),
        ("xyz", ["square"], "Unknown shape 'xyz'. Known: square."),
        ("xyz", [], "Unknown shape 'xyz'. Known: none."),
        (7, ["square"], "Unknown shape 7. Known: square."),
    ],
)
def test_unknown_name_is_answered_with_the_nearest(name, known, message):
    assert unknown_name("shape", name, known) == message
