"""Uncertainty and selection against the numbers of the published code.

The published generators are not ours: what they drew is reproduced by the loops of tests/reference/active.py, and ours
is shown to choose the same wherever nothing is drawn. Where the published code is not followed (half precision, equal
scores by file name) the test says so.
"""

import json

import numpy as np
import pytest

from fewslice.active.measures.typical import LARGEST_FULL, cluster_units, typical_units, typicality
from fewslice.active.query import select
from fewslice.active.strategies.stochastic_batches import batch_means
from fewslice.active.uncertainty import PassStatistics, mean_over_members
from tests.active.units import make_query, make_units, means
from tests.golden_files import golden, golden_param
from tests.reference import active as reference

pytestmark = pytest.mark.golden
FOLDER = "coreclr"
OURS = {
    "entropy_w_label_probs": "entropy",
    "entropy_score": "entropy",
    "ensemble_variance_ratio": "variance_ratio",
    "bald_score": "bald",
    "entropy_w_label_counts": "vote_entropy",
}
LOOPS = {
    "entropy_w_label_probs": reference.predictive_entropy,
    "entropy_score": reference.predictive_entropy,
    "ensemble_variance_ratio": reference.variance_ratio,
    "bald_score": reference.bald,
    "mean_score": lambda passes: float(passes.mean()),
}
TOLERANCES = {"f8": {"rel": 1e-6, "abs": 1e-9}, "f4": {"rel": 1e-4, "abs": 1e-7}, "f2": {"abs": 2e-3}}


def cases(stem):
    """Returns one parameter per case of every `stem*.json`: (path, case)."""
    files = golden(FOLDER, f"{stem}*.json")
    if not files:
        return [pytest.param(*golden_param(FOLDER, f"{stem}*.json")[0].values, {}, marks=pytest.mark.skip("absent"))]
    found = []
    for path in files:
        listed = json.loads(path.read_text())
        names = [f"{path.stem}-{i}" for i in range(len(listed))]
        found += [pytest.param(path, case, id=name) for name, case in zip(names, listed, strict=True)]
    return found


def arrays(path):
    with np.load(path.with_suffix(".npz"), allow_pickle=False) as data:
        return dict(data)


def uncertainty_passes(path, case):
    """Returns (M, C, H, W) in the precision of the case."""
    data = arrays(path)
    if isinstance(case["case"], str):
        labels = data[case["case"]]
        return np.moveaxis(np.eye(labels.max() + 1)[labels], -1, 1), labels
    return data[f"probs{case['case']}"].astype(case["dtype"]), None


def our_score(case, passes):
    if case["func"] == "mean_score":
        return mean_over_members([[one.mean(dtype=np.float64)] for one in passes])[0]
    statistics = PassStatistics([OURS[case["func"]]])
    for one in np.moveaxis(passes, 1, -1)[:, None]:
        statistics.update(one)
    return means(statistics)[OURS[case["func"]]][0]


@pytest.mark.parametrize("path, case", cases("uncertainty"))
def test_uncertainty(path, case):
    passes, labels = uncertainty_passes(path, case)
    dtype = case.get("dtype", "f8")
    ours = our_score(case, passes)
    loops = reference.label_count_entropy(labels) if labels is not None else LOOPS[case["func"]](passes.astype("f8"))
    assert ours == pytest.approx(loops, rel=1e-4 if dtype != "f8" else 1e-6, abs=1e-6)
    if np.isnan(case["value"]):
        # Half precision: 1e-10 is 0 and the published score no number. Ours is one.
        assert case["func"] == "bald_score" and dtype == "f2"
        assert np.isnan(reference.half_precision_bald(passes)) and np.isfinite(ours)
        return
    assert ours == pytest.approx(case["value"], **TOLERANCES[dtype])
    if "written" in case and dtype == "f8":
        assert reference.written(ours) == case["written"]


@pytest.mark.parametrize("path, case", cases("stochastic_batches"))
def test_stochastic_batches(path, case):
    scores = [(name, score) for name, score in case["scores"] if not any(name in item for item in case["ignored"])]
    dealt = reference.shuffled_batches(scores, case["sbatch_size"], case["seed"])
    listed = [(name, reference.written(mean, np.float64)) for name, mean in sorted(dealt, key=lambda item: item[1])]
    assert listed == [tuple(item) for item in case["written"]]
    rounded = [(name, float(mean)) for name, mean in case["written"]]
    assert [name for name, _ in sorted(rounded, key=lambda item: -item[1])[:6]] == case["top6"]
    # Ours makes the same means and takes the same units once they are dealt.
    values = dict(map(tuple, case["scores"]))
    means = batch_means(np.array([values[name] for name, _ in dealt]), case["sbatch_size"])
    np.testing.assert_allclose(means, [mean for _, mean in dealt], rtol=1e-12)
    names = [name for name, _ in case["scores"]]
    query = make_query(
        "stochastic_batches",
        6,
        [names.index(item.split("/")[-1]) for item in case["ignored"]],
        pool=make_units([1] * len(names)),
        inputs={"scores": np.array([score for _, score in case["scores"]])},
        rng=Dealer([names.index(name) for name, _ in dealt]),
    )
    found = select("stochastic_batches", query, {"sbatch_size": case["sbatch_size"]})
    assert [names[index] for index in found.indices] == case["top6"]


class Dealer:
    """A generator whose only permutation is the published one."""

    def __init__(self, order):
        self.order = np.array(order)

    def permutation(self, candidates):
        assert sorted(candidates.tolist()) == sorted(self.order.tolist())
        return self.order


@pytest.mark.parametrize("path", golden_param(FOLDER, "policies*.json"))
def test_random_policy(path):
    for case in json.loads(path.read_text())["random"]:
        sizes = [len(bought) for bought in case["rounds"]]
        assert reference.random_purchases(case["N"], sizes, case["seed"]) == case["rounds"]
        # Ours draws from the unlabelled, too, but with NumPy's generator, so others.
        pool, labelled = make_units([1] * case["N"]), []
        for size in sizes:
            found = select(
                "random", make_query("random", size, labelled, seed=case["seed"], pool=pool)
            ).indices.tolist()
            assert len(found) == size and not set(found) & set(labelled)
            labelled += found
        assert labelled[: sizes[0]] != case["rounds"][0]


@pytest.mark.parametrize("path", golden_param(FOLDER, "policies*.json"))
def test_ranked_policy(path):
    for case in json.loads(path.read_text())["ranked"]:
        budget = int(len(case["scores"]) * case["cumulative_split"]) - len(case["already"])
        names = reference.ranked_purchase(case["scores"], budget, case["already"])
        assert [f"d/{name}" for name in names] == case["selected_in_file_order"]
        assert "\n".join([*case["selected_in_file_order"], *case["already"]]) == case["train_list_file"]
        values = dict(map(tuple, case["scores"]))
        files = sorted(values)
        query = make_query(
            "uncertainty",
            budget,
            [files.index(item.split("/")[-1]) for item in case["already"]],
            pool=make_units([1] * len(files)),
            inputs={"scores": np.array([values[name] for name in files], np.float64)},
        )
        found = select("uncertainty", query)
        # The same scores are bought, most uncertain first. Which of equal ones is drawn; there the first by name.
        assert found.values.tolist() == sorted((values[name] for name in names), reverse=True)
        cut = found.values.min()
        above = {files[index] for index, value in zip(found.indices, found.values, strict=True) if value > cut}
        assert above == {name for name in names if values[name] > cut}


@pytest.mark.parametrize("path, case", cases("typiclust"))
def test_typiclust(path, case):
    data = arrays(path)
    if "rows" in case:
        features, neighbours = data["features"][: case["rows"]], case["num_neighbors"] - 1
        expected = data[case["case"]]
        np.testing.assert_allclose(reference.typicality(features, neighbours), expected, rtol=1e-4)
        if neighbours:
            np.testing.assert_allclose(typicality(features, neighbours), expected, rtol=1e-4)
        else:
            # The published code takes the mean over no neighbour; ours compares two members by the one that each has.
            assert np.isnan(expected).all()
            one, two = typicality(features[:2], 1)
            assert np.isfinite(one) and one == pytest.approx(two, rel=1e-12)
        return
    options = {key: case[key] for key in ("min_cluster_size", "k_nn")}
    clusters = data["clusters"]
    assert case["selected"] == data[case["case"]].tolist()
    published, misses = reference.typiclust(data["features"], clusters, case["labelled"], case["budget"], **options)
    assert published == case["selected"]
    query = make_query(
        "typiclust",
        case["budget"],
        case["labelled"],
        pool=make_units([1] * len(clusters)),
        inputs={"features": data["features"]},
    )
    found, _ = typical_units(query, clusters, **options)
    assert found.tolist() == case["selected"][: case["budget"] - misses]


@pytest.mark.parametrize("path", golden_param(FOLDER, "typiclust*.npz"))
def test_clusters(path):
    sklearn = pytest.importorskip("sklearn")
    data = arrays(path)
    for key in [key for key in data if key.startswith("kmeans")]:
        count, seed = int(key.removeprefix("kmeans").split("_")[0]), int(key.split("seed")[1].split("_")[0])
        if not key.endswith(sklearn.__version__):
            pytest.skip(f"labels of {key}; here is {sklearn.__version__}")
        labels = cluster_units(data["features"], count, rng=Seed(seed))
        # The same clusters; ours are numbered without gaps.
        pairs = set(zip(labels.tolist(), data[key].tolist(), strict=True))
        assert len(pairs) == len(set(labels.tolist())) == len(set(data[key].tolist())), (key, LARGEST_FULL)


class Seed:
    """A generator that draws one known seed."""

    def __init__(self, seed):
        self.seed = seed

    def integers(self, high):
        assert high > self.seed
        return self.seed


@pytest.mark.parametrize("name", ["vaal", "uncertainty"])
@pytest.mark.parametrize("path", golden_param(FOLDER, "vaal*.npz"))
def test_vaal_is_the_uncertainty_of_its_discriminator(path, name):
    data = arrays(path)
    outputs = data["sampler_preds"][:, 0]
    expected = data["sampler_selected"]
    pool = make_units([1] * (data["sampler_indices"].max() + 1))
    scores = np.zeros(len(pool))
    scores[data["sampler_indices"]] = 1 - outputs
    labelled = np.setdiff1d(np.arange(len(pool)), data["sampler_indices"]).tolist()
    query = make_query(name, len(expected), labelled, pool=pool, inputs={"scores": scores})
    np.testing.assert_array_equal(select(name, query).indices, expected)
