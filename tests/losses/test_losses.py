"""The contract of every registered loss, and of the package as a whole."""

import ast
import inspect
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

import losses
from fewslice.core.errors import ConfigError
from tests.backend import compiled, evaluate, value_and_grad

PACKAGE = Path(losses.__file__).parent
IS_JAX = keras.backend.backend() == "jax"
RNG = np.random.default_rng(0)
REGIONS = losses.region_table(12)
LABELS = np.where(RNG.random((2, 4, 5)) < 0.6, 255, RNG.integers(3, size=(2, 4, 5)))  # 255: not known
SOFT_LABELS = RNG.dirichlet(np.ones(3), size=(2, 4, 5))
POSITIONS = RNG.integers(4, size=(4, 2, 2, 2))
GROUPS = {"neg_loss_wt": 0.3, "pos_loss_wts": (0.35, 0.05), "pos_loss_masks": ((2, 3), ())}
# Name -> the loss with arguments other than the default ones, y_true, the shape of y_pred.
CASES = {
    "global_contrastive": (losses.GlobalContrastive(1, 0.2, reduction="sum"), losses.row_layout(1, 2, 3), (18, 8)),
    "local_contrastive": (
        losses.LocalContrastive(1, REGIONS, temperature=0.2, batch_negatives=True),
        losses.local_row_layout(1, 3, 2),
        (12, len(REGIONS.positions), 6),
    ),
    "group_contrastive": (losses.GroupContrastive(0.1, **GROUPS), losses.group_row_layout(8, 4), (16, 8)),
    "pixel_contrastive": (
        losses.PixelContrastive(1, 3, n_pos=2, temperature=0.2, normalisation="nested"),
        losses.pixel_targets(RNG.integers(3, size=(4, 4, 5)), POSITIONS, np.ones((4, 2, 2), bool)),
        (4, 4, 5, 6),
    ),
    "dice": (losses.Dice(with_background=False, name="d"), SOFT_LABELS, (2, 4, 5, 3)),
    "cross_entropy": (losses.CrossEntropy((1, 2, 3)), SOFT_LABELS, (2, 4, 5, 3)),
    "mixture": (losses.Mixture([losses.Dice(), losses.CrossEntropy((1, 2, 3))]), SOFT_LABELS, (2, 4, 5, 3)),
    "partial_cross_entropy": (losses.PartialCrossEntropy(255), LABELS, (2, 4, 5, 3)),
    "strong_segmentation": (losses.StrongSegmentation(255), LABELS, (2, 4, 5, 3)),
    "cross_entropy_dice": (losses.CrossEntropyDice(255), LABELS, (2, 4, 5, 3)),
    "dynamic_pseudo_label": (
        losses.DynamicPseudoLabel(255, partial_weight=0.2, pseudo_weight=3),
        losses.mixing_targets(LABELS, 0.4),
        (2, 4, 5, 2, 3),
    ),
    "weak_to_strong": (
        losses.WeakToStrong(0.4, soft=True, drops_features=False),
        RNG.integers(2, size=(2, 4, 5, 2)),
        (6, 4, 5, 3),
    ),
    "copy_paste": (
        losses.CopyPaste(0.3, largest_component=False),
        np.concatenate([SOFT_LABELS, LABELS[..., None] == 255], axis=-1),
        (4, 4, 5, 3),
    ),
    "vae": (losses.Vae(3, 0.5), RNG.normal(size=(2, 4)), (2, 10)),
}


def case(name, dtype="float32"):
    """Returns the loss, y_true as `fit` hands it over, and y_pred."""
    loss, y_true, shape = CASES[name]
    y_pred = np.random.default_rng(1).normal(size=shape)
    return loss, np.asarray(y_true, np.float32), ops.cast(ops.convert_to_tensor(y_pred), dtype)


@pytest.mark.parametrize("name", losses.names())
def test_survives_its_config(name):
    loss, y_true, y_pred = case(name)
    copy = keras.losses.deserialize(keras.losses.serialize(loss))
    assert type(copy) is type(loss) and copy.name == loss.name and copy.get_config() == loss.get_config()
    own = inspect.signature(type(loss)).parameters.keys() - {"kwargs"}
    assert loss.get_config().keys() == own | {"name", "reduction", "dtype"}
    if not IS_JAX:  # another compilation
        assert evaluate(copy, y_true, y_pred) == evaluate(loss, y_true, y_pred)


@pytest.mark.parametrize("name", losses.names())
def test_narrow_predictions_give_a_float32_loss(name):
    loss, y_true, narrow = case(name, "bfloat16")
    call = compiled(loss) if IS_JAX else loss
    value = call(y_true, narrow)
    assert "float32" in str(value.dtype)
    assert float(value) == pytest.approx(float(call(y_true, ops.cast(narrow, "float32"))), rel=1e-6)


@pytest.mark.skipif(IS_JAX, reason="every other test is compiled")
@pytest.mark.parametrize("name", losses.names())
def test_compiled_with_unknown_batch_size(name):
    loss, y_true, y_pred = case(name)
    assert float(compiled(loss)(y_true, y_pred)) == pytest.approx(evaluate(loss, y_true, y_pred), rel=1e-6)


@pytest.mark.parametrize("name", sorted(set(losses.names()) - {"vae"}))
def test_extreme_predictions_keep_value_and_gradient_finite(name):
    loss, y_true, y_pred = case(name)
    value, (grad,) = value_and_grad(lambda x: loss(y_true, x), 1e20 * y_pred)
    assert np.isfinite(value) and np.all(np.isfinite(grad))


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
    standard = {"__future__", "collections", "dataclasses", "importlib", "inspect", "math", "pkgutil", "typing"}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules = [node.module]
        else:
            continue
        for module in modules:
            assert module in allowed or module.split(".")[0] in (allowed | standard), module
