"""Losses of scribbles and of full supervision against the numbers and gradients of the published code.

The published partial Dice counts every sum once per image of the batch, masked by that image's annotation. Where every
pixel has a label, as in training, this changes nothing but the weight of 1e-5; where some have none, it is an accident,
which the reference reproduces and ours does not share.
"""

import json

import numpy as np
import pytest

from losses import CrossEntropyDice, DynamicPseudoLabel, PartialCrossEntropy, StrongSegmentation, mixing_targets
from tests.backend import evaluate, value_and_grad
from tests.golden_files import golden
from tests.reference import annotated_losses as reference

JSON, NPZ = golden("coreclr", "seg_losses.json"), golden("coreclr", "seg_losses.npz")
ABSENT = pytest.param(None, marks=pytest.mark.skip(reason="no golden files; set FEWSLICE_GOLDEN"), id="absent")
IGNORE = 4


def stored():
    if not NPZ:
        return {}
    with np.load(NPZ[0]) as data:
        return dict(data)


DATA = stored()
RECORDS = json.loads(JSON[0].read_text()) if JSON else []


def cases(key):
    return [pytest.param(record, id=record["case"]) for record in RECORDS if key in record] or [ABSENT]


def class_last(x):
    return np.moveaxis(x, 1, -1)


def arrays(record):
    """Returns the logits (N, H, W, K) of both decoders as far as they are stored, and the labels."""
    name = record["case"]
    return [class_last(DATA[f"{name}_logits{i}"]) for i in (1, 2)], DATA[f"{name}_label"]


def compare(loss, labels, logits, expected, gradient):
    value, (grad,) = value_and_grad(lambda x: loss(labels, x), logits)
    assert value == pytest.approx(expected, rel=1e-6)
    np.testing.assert_allclose(grad, gradient, rtol=1e-4, atol=1e-8)


@pytest.mark.golden
@pytest.mark.parametrize("record", cases("dmpls_total"))
def test_scribbles(record):
    logits, labels = arrays(record)
    name, share = record["case"], float(DATA[f"{record['case']}_beta"])
    targets = mixing_targets(labels, share)
    gradient = np.stack([class_last(DATA[f"{name}_g{i}"]) for i in (1, 2)], axis=-2)
    compare(DynamicPseudoLabel(IGNORE), targets, np.stack(logits, axis=-2), record["dmpls_total"], gradient)
    for i, one in enumerate(logits, start=1):
        assert evaluate(PartialCrossEntropy(IGNORE), labels, one) == pytest.approx(record[f"pce{i}"], rel=1e-6)
    only_dice = DynamicPseudoLabel(IGNORE, partial_weight=0.0, pseudo_weight=1.0)
    value = evaluate(only_dice, targets, np.stack(logits, axis=-2))
    assert value == pytest.approx(record["loss_pse"], rel=1e-6)
    p = [reference.probabilities(one.astype(np.float64)) for one in logits]
    np.testing.assert_array_equal(reference.pseudo_label(*p, share), DATA[f"{name}_pseudo"])


@pytest.mark.golden
@pytest.mark.parametrize("record", cases("strong_total"))
def test_masks(record):
    logits, labels = arrays(record)
    gradient = class_last(DATA[f"{record['case']}_g_strong"])
    compare(StrongSegmentation(IGNORE), labels, logits[0], record["strong_total"], gradient)
    assert evaluate(PartialCrossEntropy(IGNORE), labels, logits[0]) == pytest.approx(record["strong_ce"], rel=1e-6)


@pytest.mark.golden
@pytest.mark.parametrize("record", cases("pdice_vs_scribble"))
def test_published_accident_of_the_partial_dice(record):
    logits, labels = arrays(record)
    p = reference.probabilities(logits[0].astype(np.float64))
    published = reference.published_partial_dice(p, labels, IGNORE)
    assert published == pytest.approx(record["pdice_vs_scribble"], rel=1e-6)
    meant = 2 * evaluate(StrongSegmentation(IGNORE), labels, logits[0])
    meant -= evaluate(PartialCrossEntropy(IGNORE), labels, logits[0])
    if np.any(labels == IGNORE):
        assert meant == pytest.approx(reference.squared_dice(p, labels, IGNORE), rel=1e-5)
        assert abs(meant - published) > 1e-3, "the accident has gone"
    else:
        assert meant == pytest.approx(published, rel=1e-5)


@pytest.mark.golden
@pytest.mark.parametrize("record", [r for r in RECORDS if r["case"].startswith("lvm")] or [ABSENT])
def test_pretrained_network(record):
    logits, labels = class_last(DATA["lvm_logits"]), DATA["lvm_label"]
    compare(CrossEntropyDice(), labels, logits, record["total"], class_last(DATA["lvm_grad"]))


@pytest.mark.golden
@pytest.mark.parametrize("record", [r for r in RECORDS if r["case"] == "all_ignored"] or [ABSENT])
def test_nothing_annotated(record):
    assert record["pce"] == "nan"
    assert evaluate(PartialCrossEntropy(IGNORE), np.full((2, 4, 4), IGNORE), np.ones((2, 4, 4, 4))) == 0
