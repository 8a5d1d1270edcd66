"""Group contrastive loss against the numbers of the published code.

NT-Xent and its group-negative form agree with the paper. The published group-positive terms take every other row of
the batch as a positive, whatever their mask; `positives="all"` restores that, and the default is shown to differ.
The margin loss is defined there and never used; it exists in tests/reference only. JAX compiles every case anew; there,
the sums of terms are compared.
"""

import json

import keras
import numpy as np
import pytest

from losses.group_contrastive import GroupContrastive, group_row_layout
from tests.backend import evaluate, value_and_grad
from tests.golden_files import golden
from tests.reference import group_contrastive as reference

JSON = golden("coreclr", "gcl_losses.json")
NPZ = golden("coreclr", "gcl_losses.npz")
ABSENT = pytest.param(None, marks=pytest.mark.skip(reason="no golden files; set FEWSLICE_GOLDEN"), id="absent")


def stored():
    if not NPZ:
        return {}
    with np.load(NPZ[0]) as data:
        return dict(data)


DATA = stored()
RECORDS = {record["case"]: record for record in json.loads(JSON[0].read_text())} if JSON else {}
LOSSES = [name for name in RECORDS if f"{name}_zi" in DATA] or [ABSENT]
SUMS = [name for name in LOSSES if "combo" in str(name)] or [ABSENT]
IS_JAX = keras.backend.backend() == "jax"
MARGINS = [name for name in RECORDS if f"{name}_label" in DATA] or [ABSENT]
MASKS = [name for name in DATA if name.startswith("mask_")] or [ABSENT]


def group_size(record):
    return 1 + len(record["groups"])


def options(record):
    """Returns the arguments of our loss for one of the published terms, or a sum of them."""
    terms = record.get("terms") or [{"loss": record["loss"], "weight": 1.0, "mask_pos": record["mask_pos"]}]
    weights = {"nt_xent": 0.0, "nt_xent_neg": 0.0}
    positive = [term for term in terms if term["loss"] == "nt_xent_pos"]
    for term in terms:
        if term["loss"] in weights:
            weights[term["loss"]] += term["weight"]
    return {
        "temperature": record["temperature"],
        "loss_wt": weights["nt_xent"],
        "neg_loss_wt": weights["nt_xent_neg"],
        "pos_loss_wts": [term["weight"] for term in positive],
        "pos_loss_masks": [term["mask_pos"] for term in positive],
    }


def case(name, **extra):
    record = RECORDS[name]
    z = np.concatenate([DATA[f"{name}_zi"], DATA[f"{name}_zj"]])
    ids = group_row_layout(record["batch_size"], group_size(record))
    return z, ids, GroupContrastive(**options(record), positives="all", **extra)


@pytest.mark.golden
@pytest.mark.parametrize("name", SUMS if IS_JAX else LOSSES)
def test_published_option_reproduces_loss_and_gradient(name):
    z, ids, loss = case(name)
    value, (grad,) = value_and_grad(lambda x: loss(ids, x), z)
    assert value == pytest.approx(float(DATA[f"{name}_loss"]), rel=2e-6)
    assert value == pytest.approx(RECORDS[name]["value"], rel=2e-6)
    expected = np.concatenate([DATA[f"{name}_gi"], DATA[f"{name}_gj"]])
    np.testing.assert_allclose(grad, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.golden
@pytest.mark.skipif(IS_JAX, reason="float64 is off in JAX by default")
@pytest.mark.parametrize("name", LOSSES)
def test_float64_reproduces_the_check_value(name):
    z, ids, loss = case(name, dtype="float64")
    value, (grad,) = value_and_grad(lambda x: loss(ids, x), z, dtype="float64")
    assert value == pytest.approx(float(DATA[f"{name}_loss"]), rel=1e-6)
    expected = np.concatenate([DATA[f"{name}_gi"], DATA[f"{name}_gj"]])
    np.testing.assert_allclose(grad, expected, rtol=1e-4, atol=1e-7)


@pytest.mark.golden
@pytest.mark.skipif(IS_JAX, reason="compiled anew for each case")
@pytest.mark.parametrize("name", LOSSES)
def test_default_is_the_meaning_of_the_paper(name):
    if RECORDS[name]["batch_size"] > 16:
        pytest.skip("loops over 128 rows; the terms are those of the smaller cases")
    arguments = options(RECORDS[name])
    z, ids, _ = case(name)
    expected = arguments["loss_wt"] * reference.nt_xent(z, ids, arguments["temperature"])
    expected += arguments["neg_loss_wt"] * reference.group_negative(z, ids, arguments["temperature"])
    for weight, mask in zip(arguments["pos_loss_wts"], arguments["pos_loss_masks"], strict=True):
        expected += weight * reference.group_positive(z, ids, arguments["temperature"], mask)
    value = evaluate(GroupContrastive(**arguments), ids, z)
    assert value == pytest.approx(expected, rel=2e-6)
    if arguments["pos_loss_wts"]:
        assert value != pytest.approx(float(DATA[f"{name}_loss"]), rel=1e-4), "the accident has gone"
    else:
        assert value == pytest.approx(float(DATA[f"{name}_loss"]), rel=2e-6)


@pytest.mark.golden
@pytest.mark.parametrize("name", MASKS)
def test_masks(name):
    _, kind, groups, batch_size = name.split("_")
    ids = group_row_layout(int(batch_size), 1 + len(groups))
    weights = {"neg_loss_wt": 1.0} if kind == "neg" else {"pos_loss_wts": (1.0,), "positives": "all"}
    ((positives, negatives),) = GroupContrastive(loss_wt=0.0, **weights).masks(ids)
    found = keras.ops.convert_to_numpy(negatives if kind == "neg" else positives > 0)
    np.testing.assert_array_equal(found, DATA[name])


@pytest.mark.golden
@pytest.mark.skipif(IS_JAX, reason="NumPy only")
@pytest.mark.parametrize("name", MARGINS)
def test_margin_loss_of_the_reference(name):
    arrays = [DATA[f"{name}_{part}"] for part in ("a", "b", "label")]
    value, grad_a, grad_b = reference.margin_loss(*arrays, RECORDS[name]["margin"])
    assert value == pytest.approx(float(DATA[f"{name}_loss"]), rel=1e-5)
    np.testing.assert_allclose(grad_a, DATA[f"{name}_ga"], rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(grad_b, DATA[f"{name}_gb"], rtol=1e-4, atol=1e-7)
