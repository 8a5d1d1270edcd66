"""CoreGCN: the graph, its training and what is chosen.

Expected values: the whole matrix and gradients by differences in tests/reference/active.py. Golden numbers are in
test_golden_gcn.py.
"""

import tracemalloc

import numpy as np
import pytest

from fewslice.active.measures.gcn import SimilarityGraph, Training, forward, initial_weights, train
from tests.active.units import choose
from tests.reference import active as reference


@pytest.fixture
def small_graph():
    rng = np.random.default_rng(2)
    features = np.abs(rng.normal(size=(6, 3)))
    weights = [rng.normal(size=shape) for shape in ((3, 2), (2,), (2, 1), (1,))]
    return features, weights, np.isin(np.arange(6), [1, 4])


def test_forward_pass(small_graph):
    features, weights, _ = small_graph
    graph = SimilarityGraph(features)
    for found, expected in zip(forward(graph, weights), reference.gcn_forward(features, weights), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("width", [3, 9], ids=["fewer features than units", "more features than units"])
@pytest.mark.parametrize("weighting", [None, "k_slice_wt", "inv_slice_wt", "exp_slice_wt"])
def test_graph_with_weights_by_slice_distance_is_the_matrix(width, weighting):
    features = np.abs(np.random.default_rng(3).normal(size=(6, width)))
    positions = np.array([0, 1, 2, 5, 1, 6])
    rows, matrix = reference.gcn_matrix(features, positions, weighting)
    graph = SimilarityGraph(features, positions, weighting)
    np.testing.assert_allclose(graph.rows, rows, rtol=1e-12)
    np.testing.assert_allclose(graph.spread(np.eye(6)), matrix, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(graph.spread_back(np.eye(6)), matrix.T, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_unit_without_neighbours_keeps_what_it_has(dtype):
    features = np.random.default_rng(3).random((6, 3)).astype(dtype)
    found = SimilarityGraph(features, np.array([0, 1, 0, 1, 0, 7]), "k_slice_wt").spread(np.eye(6))
    np.testing.assert_allclose(found[5], [0, 0, 0, 0, 0, 1])
    np.testing.assert_allclose(found[:, 5], [0, 0, 0, 0, 0, 1])


def test_memory_does_not_grow_with_the_square_of_the_features():
    features = np.random.default_rng(0).random((20, 4000), np.float32)
    tracemalloc.start()
    graph = SimilarityGraph(features)
    graph.spread(graph.rows)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * features.nbytes


def test_coregcn_takes_published_names():
    features = np.random.default_rng(0).random((12, 3))
    options = {
        "hidden_units": 4,
        "dropout_rate": 0.1,
        "lr_gcn": 1e-2,
        "wdecay": 1e-3,
        "lambda_loss": 1,
        "s_margin": 0.1,
    }
    options |= {"num_epochs_gcn": 3, "starting_sample": 1, "subset_size": 8, "adj_sim_wt_metric": "inv_slice_wt"}
    assert len(choose("coregcn", 3, (0, 4), features=features, options=options)[0]) == 3


def test_training_follows_the_gradient_by_differences(small_graph):
    features, weights, is_labelled = small_graph
    values = {"learning_rate": 0.05, "weight_decay": 0.1, "lambda_loss": 1.2}
    training = Training(dropout_rate=0.0, num_epochs_gcn=4, lr_gcn=0.05, wdecay=0.1, lambda_loss=1.2)
    found, losses = train(
        SimilarityGraph(features), weights, is_labelled=is_labelled, training=training, rng=np.random.default_rng(0)
    )
    expected, expected_losses = reference.gcn_train(features, weights, {1, 4}, 4, **values)
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-5)
    for one, two in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-6)


def test_training_learns_in_float32_with_dropout():
    rng = np.random.default_rng(0)
    graph = SimilarityGraph(np.abs(rng.normal(size=(40, 8))).astype(np.float32))
    weights = initial_weights(8, 16, rng=rng)
    assert all(weight.dtype == np.float32 for weight in weights)
    assert np.abs(weights[0]).max() <= 0.25 and np.abs(weights[2]).max() <= 1
    training = Training(lr_gcn=1e-2, num_epochs_gcn=60)
    trained, losses = train(graph, weights, is_labelled=np.arange(40) < 8, training=training, rng=rng)
    assert all(weight.dtype == np.float32 for weight in trained)
    assert losses[-10:].mean() < losses[:10].mean() - 0.05


def test_coregcn_starts_with_k_center_on_the_features():
    features = np.random.default_rng(0).normal(size=(20, 3))
    options = {"use_random_start": False, "starting_sample": 5, "num_epochs_gcn": 2}
    indices, values = choose("coregcn", 6, (2,), features=features, options=options)
    assert indices[:4] == reference.k_center(features, [2], 4)
    assert np.isfinite(values).all()
    _, values = choose("coregcn", 6, (2,), features=features, options=options | {"use_random_start": True})
    assert np.isnan(values[:4]).all() and np.isfinite(values[4:]).all()


def test_coregcn_is_k_center_on_what_the_network_learned(monkeypatch):
    # The graph holds the units in random order; what comes back are indices of the pool all the same.
    features = np.random.default_rng(0).normal(size=(25, 3))
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    found = {}

    def learned(graph, is_labelled, **_):
        assert is_labelled.sum() == 5
        found["embedding"] = graph.rows
        return graph.rows

    monkeypatch.setattr("fewslice.active.strategies.coregcn.learn", learned)
    indices, _ = choose("coregcn", 5, (3, 7, 9, 1, 2), features=features, options={"num_epochs_gcn": 1})
    assert indices == reference.k_center(features, [3, 7, 9, 1, 2], 5)
    small = choose("coregcn", 3, (3, 7, 9, 1, 2), features=features, options={"num_epochs_gcn": 1, "subset_size": 6})
    assert len(found["embedding"]) == 11 and len(small[0]) == 3
