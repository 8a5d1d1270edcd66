"""CoreGCN against the published code: graph, forward pass, loss, training steps, and the mistake with indices."""

import numpy as np
import pytest

from fewslice.active.measures.gcn import SLICE_WEIGHTS, SimilarityGraph, Training, forward, loss_and_gradient, train
from fewslice.active.query import select
from tests.active.units import make_query, make_units
from tests.golden_files import golden_param
from tests.reference import active as reference

pytestmark = pytest.mark.golden
CASES = golden_param("coreclr", "coregcn*.npz")


def arrays(path):
    with np.load(path, allow_pickle=False) as data:
        return dict(data)


def gcn_weights(data, prefix):
    """Returns the weights of the two layers that are used; a third and a linear one exist and stay as they are."""
    return [data[f"{prefix}_{name}"] for name in ("gc1.weight", "gc1.bias", "gc3.weight", "gc3.bias")]


@pytest.mark.parametrize("path", CASES)
def test_graph_and_forward_pass(path):
    data = arrays(path)
    graph = SimilarityGraph(data["gcn_features_raw"])
    np.testing.assert_allclose(graph.rows, data["gcn_features_normalised"], rtol=1e-5, atol=1e-7)
    matrix = graph.spread(np.eye(len(graph.rows)))
    np.testing.assert_allclose(matrix, data["gcn_adj"], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(
        SimilarityGraph(data["gcn_features_raw"].astype(np.float64)).spread(np.eye(len(graph.rows))),
        data["gcn_adj"],
        rtol=1e-5,
        atol=1e-6,
    )
    weights = gcn_weights(data, "gcn_param")
    hidden, outputs = forward(graph, weights)
    np.testing.assert_allclose(hidden, data["gcn_eval_hidden"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(1 / (1 + np.exp(-outputs)), data["gcn_eval_scores"], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(np.hstack([hidden, outputs]), data["gcn_eval_embedding"], rtol=1e-4, atol=1e-5)
    loop_hidden, loop_outputs = reference.gcn_forward(data["gcn_features_raw"], weights)
    np.testing.assert_allclose(np.hstack([loop_hidden, loop_outputs]), data["gcn_eval_embedding"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("path", CASES)
def test_graph_loss_and_training(path):
    data = arrays(path)
    labelled = data["gcn_loss_labelled"]
    is_labelled = np.isin(np.arange(len(data["gcn_loss_scores"])), labelled)
    np.testing.assert_array_equal(np.flatnonzero(~is_labelled), data["gcn_loss_unlabelled"])
    value, slope = loss_and_gradient(data["gcn_loss_scores"], is_labelled, 1.2)
    assert value == pytest.approx(float(data["gcn_loss_value"]), rel=1e-6)
    assert reference.gcn_loss(data["gcn_loss_scores"], set(labelled.tolist()), 1.2) == pytest.approx(value, rel=1e-9)
    np.testing.assert_allclose(slope, data["gcn_loss_grad"], rtol=1e-6)
    graph = SimilarityGraph(data["gcn_features_raw"].astype(np.float64))
    trained, losses = train(
        graph,
        gcn_weights(data, "gcn_train_init"),
        is_labelled=is_labelled,
        training=Training(dropout_rate=0.0, num_epochs_gcn=len(data["gcn_train_losses"])),
        rng=np.random.default_rng(0),
    )
    np.testing.assert_allclose(losses, data["gcn_train_losses"], rtol=1e-6)
    for found, expected in zip(trained, gcn_weights(data, "gcn_train_final"), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8)
    for name in ("gc2.weight", "gc2.bias", "linear.weight", "linear.bias"):
        np.testing.assert_array_equal(data[f"gcn_train_init_{name}"], data[f"gcn_train_final_{name}"])


@pytest.mark.parametrize("path", CASES)
def test_places_in_the_subset_are_not_indices(path):
    data = arrays(path)
    subset, places = data["gcn_bug_subset"], data["gcn_bug_raw_positions"]
    np.testing.assert_array_equal(data["gcn_bug_returned_indices"], places)  # published
    assert (subset[places] != places).any()
    # Ours returns indices of the pool: see test_gcn.py.
    labelled = np.setdiff1d(np.arange(len(data["gcn_features_raw"])), subset)
    query = make_query(
        "coregcn",
        len(places),
        labelled.tolist(),
        pool=make_units([1] * len(data["gcn_features_raw"])),
        inputs={"features": data["gcn_features_raw"]},
    )
    assert set(select("coregcn", query, {"num_epochs_gcn": 3}).indices.tolist()) <= set(subset.tolist())


@pytest.mark.parametrize("path", CASES)
def test_weights_by_slice_distance(path):
    data = arrays(path)
    apart = np.abs(np.diff(data["gcn_slice_wts_pairs"], axis=1))[:, 0]
    for column, name in enumerate(("k_slice_wt", "inv_slice_wt", "exp_slice_wt")):
        np.testing.assert_allclose(SLICE_WEIGHTS[name](apart), data["gcn_slice_wts"][:, column], rtol=1e-9)
        expected = [reference.slice_weight(int(one), int(two), name) for one, two in data["gcn_slice_wts_pairs"]]
        np.testing.assert_allclose(expected, data["gcn_slice_wts"][:, column], rtol=1e-9)
