"""Scores, strategies and stopping against the numbers of the published code (V. Rocheleau's, baal, MONAI Label, axons).

Every array of every file is looked at. Where the published code is not followed, the test shows its number by
tests/reference/scores.py and ours beside it.
"""

import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from fewslice.active import stopping, uncertainty
from fewslice.active.query import Query, select
from fewslice.active.scores.distance import relative_distances
from fewslice.active.strategies.power import log_weights
from fewslice.active.uncertainty import PassStatistics, unit_values
from fewslice.active.units import Case
from fewslice.active.units.slices import wholes
from fewslice.core import files
from fewslice.core.errors import ConfigError
from fewslice.settings.experiment import Stop
from fewslice.train.predict import softmax
from tests.active.units import annotate, choose
from tests.golden_files import golden_param
from tests.reference import scores as reference

pytestmark = pytest.mark.golden
FOLDER = "albaselines"
OURS = {"mc": "vote_variance", "mc_edt": "vote_variance_edt", "bald": "bald", "max": "expected_entropy"}
BAAL = {
    "BALD": lambda maps: maps["bald"],
    "Entropy": lambda maps: maps["entropy"],
    "Variance": lambda maps: maps["ensemble_variance"],
    "Certainty": lambda maps: 1 - maps["least_confidence"],
    "Margin": lambda maps: 1 - maps["margin"],
}
NAMES = ("bald", "entropy", "ensemble_variance", "least_confidence", "margin", *OURS.values())
CLOSE = {"f8": {"rtol": 1e-9, "atol": 3e-9}, "f4": {"rtol": 1e-4, "atol": 1e-6}}  # log(q + 1e-10) in float64


def cases(name):
    """Returns one parameter for each file of this name, whatever follows it."""
    return pytest.mark.parametrize("path", golden_param(FOLDER, f"{name}*"))


def arrays(path):
    with np.load(path, allow_pickle=False) as data:
        return dict(data)


def passes_of(stack):
    """(N, C, *space, T) logits or probabilities -> (T, N, *space, C) probabilities."""
    values = np.moveaxis(np.moveaxis(stack, -1, 0), 2, -1)
    return values if np.abs(values.sum(axis=-1) - 1).max() < 1e-4 and values.min() >= 0 else softmax(values)


def maps_of(passes, names=NAMES):
    statistics = PassStatistics(names)
    for values in passes:
        statistics.update(values)
    return statistics.maps()


def reduced(values, how):
    """(N, *space) maps of whole images -> (N,)."""
    volumes = values.reshape(len(values), -1, *values.shape[-2:])
    box = np.zeros((1, 3), int), np.array([volumes.shape[1:]])
    if how in ("max", "min"):  # no reductions of ours
        return np.array([getattr(each, how)() for each in volumes])
    return np.array([unit_values({"map": each}, "map", *box, reduce=how)[0] for each in volumes])


def has_ties(scores):
    gaps = np.diff(np.sort(scores))
    return (gaps <= 1e-7 * np.abs(scores).max()).any()


def select_of(scores, labels, budget, per_label):
    pool = wholes([Case(f"{n}", n, (1, 1, 1), {"grade": label}) for n, label in enumerate(labels)], label="grade")
    query = Query(pool=pool, is_labelled=np.zeros(len(pool), bool), budget=budget, rng=0, ignore_value=9, scores=scores,
                  per_label=per_label)  # fmt: skip
    return select("uncertainty", query).indices


@cases("seed_heuristics")
def test_heuristics_balance_and_random(path):
    data, looked_at = arrays(path), 0
    for one in sorted(name.removesuffix("_logits") for name in data if name.endswith("_logits")):
        labels, logits = data[f"{one}_labels"], data[f"{one}_logits"]
        for dtype, suffix in (("f8", "scores_f64in"), ("f4", "scores")):
            maps = maps_of(passes_of(logits.astype(dtype)))
            for name in [name for name in OURS if f"{one}_{name}_{suffix}" in data]:
                scores = reduced(maps[OURS[name]], "mean")
                expected = data[f"{one}_{name}_{suffix}"]
                is_known = np.isfinite(expected)  # NaN: no predicted foreground, ours 0
                np.testing.assert_allclose(scores[is_known], expected[is_known], err_msg=name, **CLOSE[dtype])
                assert not scores[~is_known].any()
                if not is_known.all() or has_ties(expected):
                    continue
                for key in [key for key in data if re.fullmatch(rf"{one}_{name}_(ranks|top\d+|balanced\d+)", key)]:
                    per_label = int(key[-1]) if "balanced" in key else 0
                    expected = data[key][: len(labels) - 1]  # of all units there is no ranking
                    chosen = select_of(scores, labels, len(expected), per_label)
                    np.testing.assert_array_equal(chosen, expected, err_msg=key)
                    looked_at += 1
        if f"{one}_vote_mean" in data:
            mean = data[f"{one}_vote_mean"]
            np.testing.assert_allclose(logits.argmax(axis=1).mean(axis=-1), mean, atol=1e-12)
            maps = maps_of(passes_of(logits))
            np.testing.assert_allclose(maps["vote_variance"], data[f"{one}_vote_var_map"], atol=1e-12)
            for mask, distances in zip(mean > 0.5, data[f"{one}_edt_map"], strict=True):
                if mask.any() and not mask.all():
                    found = relative_distances(mask[None])[0]
                    np.testing.assert_allclose(found, distances / distances.max(), atol=1e-12)
        for key in [key for key in data if re.fullmatch(rf"{one}_rand_seed\d+_order", key)]:
            order = reference.published_random(len(labels), int(re.search(r"seed(\d+)", key)[1]))
            np.testing.assert_array_equal(order, data[key])
            ranked = np.empty(len(order))
            ranked[order] = -np.arange(len(order))
            balanced = data[key.replace("order", "balanced2")]
            np.testing.assert_array_equal(select_of(ranked, labels, len(balanced), 2), balanced)
    assert looked_at


@cases("seed_edge_cases")
def test_no_foreground_and_nothing_else_and_ties(path):
    """Published: NaN without foreground, which ranks first. Ours: 0, so that it ranks last."""
    data = arrays(path)
    passes = passes_of(data["logits"])
    maps, votes = maps_of(passes), np.moveaxis(data["logits"].argmax(axis=1), -1, 1)
    for name in OURS:
        scores, expected = reduced(maps[OURS[name]], "mean"), data[f"{name}_scores"]
        np.testing.assert_allclose(scores, np.nan_to_num(expected, nan=0.0), **CLOSE["f4"], err_msg=name)
        assert np.isfinite(scores).all()
    published = data["mc_edt_scores"]
    np.testing.assert_allclose([reference.published_vote_variance_edt(one) for one in votes], published, atol=1e-12)
    missing = np.flatnonzero(np.isnan(published))
    assert set(data["mc_edt_ranks"][: len(missing)]) == set(missing) and len(missing)
    chosen = select_of(reduced(maps["vote_variance_edt"], "mean"), np.zeros(len(published), int), 1, 0)
    assert chosen[0] not in missing
    with pytest.raises(ConfigError, match="scores of .* units are not finite"):
        select_of(published, np.zeros(len(published), int), 1, 0)


@cases("baal_segmentation")
def test_maps_and_reductions(path):
    data = arrays(path)
    stacks = {"P4_f32": data["P4_f32"], "V3d": data["V3d_probs_f64"]}
    seeds = arrays(path.parent / "seed_heuristics.npz")
    stacks["P4_f64"] = np.moveaxis(softmax(np.moveaxis(seeds["B_logits"].astype("f8"), 1, -1)), -1, 1)
    stacks["A_logits"] = seeds["A_logits"]
    found = {tag: maps_of(passes_of(stack)) for tag, stack in stacks.items()}
    mean_logits = softmax(np.moveaxis(stacks["A_logits"].mean(axis=-1), 1, -1))
    of_mean = maps_of([mean_logits])
    kinds = Counter()
    for key in data:
        tag, *rest = key.split("|")
        if tag not in found or not rest:
            continue
        name, how, dtype = rest[0], rest[1], "f8" if tag in ("P4_f64", "V3d") else "f4"
        if tag == "A_logits" and name in (
            "Variance",
            "Certainty",
        ):  # published: of raw logits, which are no probabilities
            raw = stacks[tag].var(axis=-1) if name == "Variance" else stacks[tag].mean(axis=-1).max(axis=1)
            values = getattr(raw, how)(axis=tuple(range(1, raw.ndim)))
        else:
            is_mean = tag == "A_logits" and name != "BALD"  # published: logits are averaged; ours: probabilities
            values = BAAL[name](of_mean if is_mean else found[tag])
            if how == "map0":
                expected = data[key].mean(axis=0) if name == "Variance" else data[key]
                np.testing.assert_allclose(values[0], expected, err_msg=key, **CLOSE[dtype])
                continue
            if how == "callable_top10pct":
                flat = np.sort(values.reshape(len(values), -1))
                values = flat[:, -round(0.1 * flat.shape[1]) :].mean(axis=1)
            elif name == "Variance" and how in ("max", "min"):
                continue  # over classes too, of which ours has the mean
            else:
                values = reduced(values, how) * (stacks[tag].shape[1] if name == "Variance" and how == "sum" else 1)
        if rest[-1] == "scores":
            np.testing.assert_allclose(values, data[key], err_msg=key, **CLOSE[dtype])
        elif (dtype, how) != ("f4", "min") and not has_ties(data[key.replace("ranks", "scores")]):
            order = np.argsort(values if name in ("Certainty", "Margin") else -values, kind="stable")
            np.testing.assert_array_equal(order, data[key], err_msg=key)
        kinds[tag] += 1
    assert kinds
    if "combine|BALD0.7+Entropy2.1|ranks" in data:
        two = [data[f"combine|BALD0.7+Entropy2.1|scores{n}"] for n in (0, 1)]
        for values, name in zip(two, ("BALD", "Entropy"), strict=True):
            np.testing.assert_allclose(reduced(BAAL[name](found["P4_f64"]), "mean"), values, **CLOSE["f8"])
        order = np.argsort(-(0.7 * two[0] + 2.1 * two[1]), kind="stable")
        np.testing.assert_array_equal(order, data["combine|BALD0.7+Entropy2.1|ranks"])
    for key in [key for key in data if re.fullmatch(r"nonfinite\|\w+\|scores", key)]:
        name = key.split("|")[1]  # published: scores that are no numbers become 0 or 10000; ours: refused
        others = data[key][data[key] != data[f"P4_f64|{name}|mean|scores"]]
        assert set(others) <= {10000 if name == "Margin" else 0}
    if "C1|BALD|mean|scores" in data:  # one sigmoid channel: published scores sum over one class, ours has two
        one = data["C1_to_prob"]
        np.testing.assert_allclose(one, 1 / (1 + np.exp(-data["C1_logits"])), rtol=1e-6)
        binary = maps_of(passes_of(np.concatenate([1 - one, one], axis=1)))
        assert (reduced(binary["bald"], "mean") > data["C1|BALD|mean|scores"]).all()


@cases("baal_classification")
def test_batches_and_draws(path):
    data = arrays(path)
    means = np.moveaxis(data["probs"], -1, 1)  # (N, T, C)
    maps = maps_of(np.moveaxis(means, 1, 0)[:, :, None, None])
    for name, of in [(name, of) for name, of in BAAL.items() if f"{name}|scores" in data]:
        values = of(maps)[:, 0, 0]
        np.testing.assert_allclose(values, data[f"{name}|scores"], **CLOSE["f8"])
        order = np.argsort(values if name in ("Certainty", "Margin") else -values, kind="stable")
        assert has_ties(values) or np.array_equal(order, data[f"{name}|ranks"])
    exact, joint = data["BatchBALD|exact_own|order"], data["BatchBALD|exact_own|joint_MI"]
    chosen, values = choose("batchbald", len(exact), pass_means=means)
    np.testing.assert_array_equal(chosen, exact)
    np.testing.assert_allclose(values, joint, rtol=1e-9)
    chosen, values = choose("batchbald", len(exact), pass_means=means, options={"configurations": 600})
    assert reference.joint_information(means, chosen) == pytest.approx(joint[-1], rel=0.02)
    assert values[-1] == pytest.approx(joint[-1], abs=0.05)
    for key in [key for key in data if re.fullmatch(r"BatchBALD\|draw\d+\|seed\d+\|ranks", key)]:
        scored = np.count_nonzero(data[key.replace("ranks", "scores")])
        published = data[key][:scored][::-1]  # the last pick first, and one more than was asked for
        assert scored == len(exact) + 1 and published[0] == exact[0]
        assert len(set(published[: len(exact)].tolist()) & set(exact.tolist())) >= len(exact) - 2
    scores = data["BALD|scores"]
    for key in [key for key in data if key.endswith("|dist")]:
        kind, temperature = key.split("|")[:2]
        if temperature == "degenerate":  # equal passes: published draws by rounding errors
            assert np.abs(data[f"{kind}|degenerate|bald"]).max() < 1e-12
            continue
        kind = {"Power": "power", "Gibbs": "softmax", "Rank": "softrank"}[kind]
        drawn = np.exp(log_weights(scores, 1 / float(temperature[1:]), kind))
        np.testing.assert_allclose(drawn / drawn.sum(), data[key], rtol=1e-9, atol=1e-15)
        index = data[key.replace("dist", "npseed0_idx")]  # published: by the global generator; ours by the same weights
        again = np.random.RandomState(0).choice(len(scores), len(index), replace=False, p=data[key])
        np.testing.assert_array_equal(again, index)
    for key in [key for key in data if key.startswith("shuffle_subset")]:
        seed, share = (float(re.search(rf"{name}([\d.]+)", key)[1]) for name in ("seed", "prop"))
        generator, order = np.random.RandomState(int(seed)), np.arange(len(data[key]))
        is_drawn = generator.rand(len(order)) < share
        shuffled = order[is_drawn]
        generator.shuffle(shuffled)
        order[is_drawn] = shuffled
        np.testing.assert_array_equal(order, data[key])


@cases("paper_axon_myelin")
def test_axon_and_myelin(path):
    """Published: a ramp from a corner where no probability is exactly 1. Ours: the plain variance there."""
    data = arrays(path)
    foreground = np.moveaxis(data["fg_probs"], -1, 0)  # (T, N, H, W)
    passes = np.stack([1 - foreground, foreground], axis=-1)
    near, far = (uncertainty.bound("axon_myelin", {"edt": edt, "threshold": 1.0}) for edt in (True, False))
    maps = maps_of(passes, [near, far])
    np.testing.assert_allclose(reduced(maps[far], far.reduce), data["edt0_score"], rtol=1e-9)
    for place, expected in enumerate(data["edt1_map"]):
        published = reference.published_axon_myelin(foreground[:, place])
        np.testing.assert_allclose(published, expected, atol=1e-12)
        assert published.sum() == pytest.approx(data["edt1_score"][place], rel=1e-9)
        is_certain = (foreground[-1, place] == 1).any()
        same = published if is_certain else foreground[:, place].var(axis=0)
        np.testing.assert_allclose(maps[near][place], same, atol=1e-12)


@cases("monailabel_epistemic")
def test_epistemic_scores(path):
    data, inputs = arrays(path), arrays(path.parent / "baal_segmentation.npz")
    for tag, stack in (("P4_2d", inputs["P4_f32"]), ("V3d", inputs["V3d_probs_f64"])):
        maps = maps_of(passes_of(stack))
        for name, ours in (("entropy", maps["entropy"]), ("variance", maps["ensemble_variance"] * stack.shape[1])):
            np.testing.assert_allclose(reduced(ours, "mean"), data[f"{tag}|{name}"], rtol=1e-5, err_msg=tag)


@cases("stopping")
def test_stopping(path, tmp_path):
    for name, steps in json.loads(Path(path).read_text(encoding="utf-8")).items():
        parts = re.fullmatch(r"budget([\d]+)_start(\d+).*|low_unc_([\d.e-]+)|early_patience(\d+)_eps([\d.e-]+)", name)
        pool = wholes([Case(f"{n}", n, (1, 1, 1)) for n in range(200)])
        metrics, count, labels = [], int(parts[2] or 1), []
        start = {f"{n}": np.zeros((1, 1, 1)) for n in range(count)}
        rounds = [start]
        for number, (value, expected) in enumerate(steps, 1):
            folder, new = tmp_path / name / "rounds" / f"{number:03d}", {}
            if parts[1]:
                new = {f"{n}": np.zeros((1, 1, 1)) for n in range(count, value)}
                count, stop = value, Stop(budget=int(parts[1]))
            elif parts[3]:
                stop = Stop(uncertainty=float(parts[3]))
                files.write_json(folder / "uncertainty.json", {"mean": float(np.mean(value))})
            else:
                stop = Stop(metric="val_dice", patience=int(parts[4]), epsilon=float(parts[5]))
                files.write_json(folder / "metrics.json", {"val_dice": value})
                metrics.append(value)
                assert reference.published_stands_still(metrics, stop.patience, stop.epsilon) == expected
                expected &= len(metrics) > stop.patience  # published: at `patience` values already
            rounds.append(new)
            labels = annotate(pool, 9, *rounds)
            assert bool(stopping.reason(stop, tmp_path / name, labels)) == expected, (name, number)
