"""What holds for every registered loss, and for the package as a whole."""

import ast
import inspect
from pathlib import Path

import keras
import pytest

import losses
from fewslice.core.errors import ConfigError

PACKAGE = Path(losses.__file__).parent


def test_names():
    assert {"global_contrastive", "local_contrastive", "dice", "cross_entropy", "mixture"} <= set(losses.names())


@pytest.mark.parametrize("name", losses.names())
def test_registered_losses_are_documented_keras_losses(name):
    cls = losses.get(name)
    assert issubclass(cls, keras.losses.Loss)
    assert keras.saving.get_registered_object(f"fewslice>{cls.__name__}") is cls
    assert Path(inspect.getfile(cls)).stem == name, "a loss stands in the file of its name"
    assert "Args:" in cls.__doc__ and ">>>" in cls.__doc__


def test_unknown_name_gets_the_nearest():
    with pytest.raises(ConfigError, match="Unknown loss 'global_contrastve'. Did you mean 'global_contrastive'"):
        losses.get("global_contrastve")


@pytest.mark.parametrize("path", sorted(PACKAGE.glob("*.py")), ids=lambda path: path.stem)
def test_imports_only_what_every_backend_has(path):
    allowed = {"keras", "numpy", "losses", "fewslice.core.registry"}
    standard = {"__future__", "collections", "dataclasses", "importlib", "math", "pkgutil", "typing"}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules = [node.module]
        else:
            continue
        for module in modules:
            assert module in allowed or module.split(".")[0] in (allowed | standard), module
