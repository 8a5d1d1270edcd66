"""The contract of all strategies, those of users included: checked for every registered name.

There are no expected numbers: the words of `fewslice.active.query` are the expectation.
"""

import dataclasses
from typing import Any

import numpy as np
import pytest

from fewslice.active.query import STRATEGIES, Choice, check_options, register, select, strategy_options
from fewslice.core.errors import ConfigError
from tests.active.units import make_inputs, make_query, make_units
from tests.registries import temporary

NAMES = STRATEGIES.names()
NUMBERS = {"features", "scores", "gradients", "pass_means"}  # checked to be finite
LABELLED = (0, 3, 11, 28)
# Exact greedy k-center takes the lowest index of units that are equally far, as the published code does.
LOWEST_INDEX = {"kcenter", "coreset", "mfc", "mfc_pixels", "batchbald", "first"}
QUICK = {"coregcn": {"num_epochs_gcn": 5}}


def choose(name, *args, options=None, **changes):
    return select(name, make_query(name, *args, **changes), QUICK.get(name, {}) | (options or {}))


def check(choice, budget, labelled=()):
    assert choice.indices.shape == choice.values.shape == (budget,)
    assert choice.indices.dtype == np.int64 and choice.values.dtype == np.float64
    assert len(set(choice.indices.tolist())) == budget
    assert not set(choice.indices.tolist()) & set(labelled)
    assert choice.indices.min(initial=0) >= 0 and choice.indices.max(initial=0) < 30


@pytest.fixture
def own_names():
    """Names that a test registers are forgotten afterwards."""
    with temporary(STRATEGIES):
        yield


@pytest.mark.parametrize("labelled", [(), (5,), LABELLED], ids=["nothing_labelled", "one", "four"])
@pytest.mark.parametrize("budget", [1, 6, 25])
@pytest.mark.parametrize("name", NAMES)
def test_exact_budget_distinct_and_unlabelled(name, budget, labelled):
    if STRATEGIES.get(name).needs_labelled and not labelled:
        with pytest.raises(ConfigError, match=f"'{name}' needs at least one annotated unit. Begin with"):
            choose(name, budget, labelled)
        return
    check(choose(name, budget, labelled), budget, labelled)


@pytest.mark.parametrize("name", NAMES)
def test_same_generator_same_choice(name):
    one, two = choose(name, 8, LABELLED, seed=3), choose(name, 8, LABELLED, seed=3)
    np.testing.assert_array_equal(one.indices, two.indices)
    np.testing.assert_array_equal(one.values, two.values)


@pytest.mark.parametrize("name", NAMES)
def test_memory_layout_does_not_matter(name):
    inputs = make_inputs(30)
    plain = choose(name, 8, LABELLED, inputs=inputs)
    fortran = choose(name, 8, LABELLED, inputs={key: np.asfortranarray(values) for key, values in inputs.items()})
    strided = choose(
        name, 8, LABELLED, inputs={key: np.repeat(values, 2, axis=0)[::2] for key, values in inputs.items()}
    )
    np.testing.assert_array_equal(plain.indices, fortran.indices)
    np.testing.assert_array_equal(plain.indices, strided.indices)


@pytest.mark.parametrize("name", NAMES)
def test_budget_of_zero_chooses_nothing(name):
    assert len(choose(name, 0, LABELLED).indices) == 0


@pytest.mark.parametrize("budget", [26, 27, 1000])
@pytest.mark.parametrize("name", NAMES)
def test_budget_of_all_that_is_left_or_more_takes_all(name, budget):
    left = sorted(set(range(30)) - set(LABELLED))
    assert sorted(choose(name, budget, LABELLED).indices.tolist()) == left


@pytest.mark.parametrize("name", NAMES)
def test_one_unit_left(name):
    labelled = [index for index in range(30) if index != 17]
    assert choose(name, 1, labelled).indices.tolist() == [17]
    assert choose(name, 0, labelled).indices.tolist() == []


@pytest.mark.parametrize("labelled", [(), LABELLED], ids=["nothing_labelled", "four"])
@pytest.mark.parametrize("name", NAMES)
def test_equal_units_are_drawn_by_the_generator(name, labelled):
    labelled = labelled or (5,) * STRATEGIES.get(name).needs_labelled
    same = {key: np.repeat(values[:1], 30, axis=0) for key, values in make_inputs(30).items()}
    choices = [choose(name, 7, labelled, inputs=same, seed=seed) for seed in range(4)]
    for choice in choices:
        check(choice, 7, labelled)
    if name not in LOWEST_INDEX:
        assert len({tuple(sorted(choice.indices.tolist())) for choice in choices}) > 1


@pytest.mark.parametrize("name", NAMES)
def test_zeros_are_no_accident(name):
    zeros = {key: np.zeros_like(values) for key, values in make_inputs(30).items()}
    check(choose(name, 5, LABELLED, inputs=zeros), 5, LABELLED)


@pytest.mark.parametrize(("spread", "warns"), [(0.0, True), (1e-8, True), (1e-3, False)])
@pytest.mark.parametrize("name", ["kcenter", "uncertainty", "badge"])
def test_a_choice_among_equals_is_told(name, spread, warns, caplog):
    inputs = {}
    for key, values in make_inputs(30).items():
        inputs[key] = np.asarray(np.repeat(values[:1], 30, axis=0), np.float64)
        inputs[key][3:9] *= 1 + spread
    with caplog.at_level("WARNING", "absl"):
        choose(name, 5, inputs=inputs)
    assert ("of all units of the pool are equal: this choice by" in caplog.text) == warns


@pytest.mark.parametrize("name", NAMES)
def test_scores_of_labelled_units_are_not_looked_at(name):
    inputs = make_inputs(30)
    expected = choose(name, 5, LABELLED, inputs=inputs).indices
    unknown = inputs | {"scores": inputs["scores"].copy()}
    unknown["scores"][list(LABELLED)] = np.nan
    np.testing.assert_array_equal(choose(name, 5, LABELLED, inputs=unknown).indices, expected)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize(
    "name, need", [(n, need) for n in NAMES for need in STRATEGIES.get(n).needs if need in NUMBERS]
)
def test_values_that_are_not_finite_are_refused(name, need, value):
    inputs = make_inputs(30)
    inputs[need][13] = value
    with pytest.raises(ConfigError, match=f"The {need} of 1 units are not finite, for instance of volume2_slice1"):
        choose(name, 5, LABELLED, inputs=inputs)


@pytest.mark.parametrize("name, need", [(n, need) for n in NAMES for need in STRATEGIES.get(n).needs])
def test_missing_and_short_inputs_are_refused(name, need):
    with pytest.raises(ConfigError, match=f"needs {need}, of which there are none"):
        choose(name, 5, **{need: None})
    with pytest.raises(ConfigError, match=f"30 units, but there are {need} of 29"):
        choose(name, 5, **{need: make_inputs(29)[need]})


@pytest.mark.parametrize("name", NAMES)
def test_unknown_option_is_refused(name):
    with pytest.raises(ConfigError, match="'no_such_option'"):
        choose(name, 5, options={"no_such_option": 1})


@pytest.mark.parametrize("name", NAMES)
def test_options_have_types_and_their_defaults_fit(name):
    options = strategy_options(name)
    defaults = {option: default for option, (_, default) in options.items()}
    assert check_options(name, defaults) is not None
    for option, (kind, _) in options.items():
        assert kind is not Any, option
        with pytest.raises(ConfigError, match=f"option of strategy '{name}' '{option}' must be"):
            check_options(name, {option: object()})


@pytest.mark.parametrize("name", NAMES)
def test_negative_budget_is_refused(name):
    with pytest.raises(ConfigError, match="must not be negative"):
        choose(name, -1)


@pytest.mark.parametrize("name", NAMES)
def test_volumes_of_one_slice(name):
    pool = make_units([1] * 30)
    check(choose(name, 7, LABELLED, pool=pool), 7, LABELLED)


@pytest.mark.parametrize("name", NAMES)
def test_says_what_it_does(name):
    assert (STRATEGIES.get(name).__doc__ or "").strip()


def test_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(ConfigError, match="Unknown strategy 'typiclus'. Did you mean 'typiclust'"):
        select("typiclus", make_query("random"))


def test_a_strategy_of_ones_own_is_one_function(own_names):
    @register("last", needs=("features",))
    def last(query, *, step=1):
        return query.candidates[::-step][: query.budget]

    assert choose("last", 3, (29,)).indices.tolist() == [28, 27, 26]
    assert choose("last", 3, (29,), options={"step": 2}).indices.tolist() == [28, 26, 24]
    with pytest.raises(ConfigError, match="needs features"):
        choose("last", 3, features=None)
    assert strategy_options("last") == {"step": (int, 1)}


def test_a_strategy_can_have_a_class_of_options(own_names):
    @dataclasses.dataclass(frozen=True)
    class Step:
        step: int = 1
        scale: float | None = None

    @register("last", options=Step)
    def last(query, options):
        assert options.scale is None or type(options.scale) is float
        return query.candidates[:: -options.step][: query.budget]

    assert choose("last", 3, options={"step": 2, "scale": 3}).indices.tolist() == [29, 27, 25]
    with pytest.raises(ConfigError, match="'last' 'stap'. Did you mean 'step'.*\n.*'scale' must be a number or null"):
        choose("last", 3, options={"stap": 2, "scale": "x"})


def test_a_taken_name_is_refused():
    with pytest.raises(RuntimeError, match="registered twice"):
        register("random")(lambda query: [])


BROKEN = {
    "a unit twice": lambda query: [1, 1],
    "annotated already": lambda query: [0, 1],
    "indices for a budget of 2": lambda query: [1],
    "outside the pool": lambda query: [1, 30],
    r"indices for a budget of 2 ": lambda query: Choice(np.array([1, 2]), np.zeros(3)),
}


@pytest.mark.parametrize("words", BROKEN)
def test_a_strategy_that_breaks_the_contract_is_named(own_names, words):
    register("broken")(BROKEN[words])
    with pytest.raises(RuntimeError, match=f"The strategy 'broken'.*{words.strip()}"):
        choose("broken", 2, (0,))


def test_an_error_inside_a_strategy_is_not_hidden(own_names):
    @register("faulty")
    def faulty(query):
        raise TypeError("something else")

    with pytest.raises(TypeError, match="something else"):
        choose("faulty", 2)
