"""The native form of experiments: all problems at once with their places, overrides, and the plans of rounds.

Expected values: by hand.
"""

from __future__ import annotations

import json

import pytest

from fewslice import learner  # noqa: F401  names of networks, members and features
from fewslice.active import annotators  # noqa: F401
from fewslice.core.errors import ConfigError
from fewslice.settings.experiment import QuerySettings
from fewslice.settings.load import load_experiment
from fewslice.settings.yaml import Named

LINES = """\
name: mine
dataset: phantom
network:
  name: dmpls
  steps: 100
query:
  strategy: mfc
  features: encoder
encoder:
  batch_size: 9
members: 2
rounds: [0.1, {add: 0.1, query: random}, {add: 0.2, longer: 0.5}]
"""
PLAIN = "name: mine\ndataset: phantom\nnetwork: scribble_unet\n"


@pytest.fixture
def read(tmp_path):
    def read_text(text, **overrides):
        (tmp_path / "mine.yml").write_text(text)
        return load_experiment(tmp_path / "mine.yml", {name.replace("__", "."): v for name, v in overrides.items()})

    return read_text


def problem(read, *args, **overrides):
    with pytest.raises(ConfigError) as caught:
        read(*args, **overrides)
    return str(caught.value)


@pytest.mark.parametrize(
    "old, new, line, words",
    [
        ("name: mine", "name: ../mine", 1, "a plain name without folders. Received: '../mine'. It would be written"),
        ("dataset: phantom", "datset: phantom", 2, "Unknown key 'datset'. Did you mean 'dataset'?"),
        ("dataset: phantom", "dataset: phantm", 2, "Unknown dataset 'phantm'. Did you mean 'phantom'?"),
        ("name: dmpls", "name: dmpl", 4, "Unknown network 'dmpl'. Did you mean 'dmpls'?"),
        ("steps: 100", "steps: 0", 5, "'steps' must be a whole number, 1 or larger. Received: 0"),
        ("steps: 100", "stepps: 100", 5, "Unknown option of network 'dmpls' 'stepps'. Did you mean 'steps'?"),
        ("strategy: mfc", "strategy: {name: mfc, metric: off}", 7, "one of euclidean, cosine, dot"),
        ("strategy: mfc", "strategy: {pos_wt: 3}", 7, "`query.strategy.name` must be the name of a strategy"),
        ("strategy: mfc", "strategy: kcentr", 7, "Unknown strategy 'kcentr'. Did you mean 'kcenter'?"),
        ("features: encoder", "features: pixels", 9, "no query looks at the encoder"),
        ("features: encoder", "score: entropy", 7, "mfc compares features"),
        ("features: encoder", "features: encoder\n  score: entropy", 9, "mfc looks at no scores"),
        ("features: encoder", "features: encoder\n  passes: 3", 6, "have no effect without `score`"),
        ("batch_size: 9", "batch_size: 10", 10, "multiple of the group size, 3"),
        ("batch_size: 9", "pos_loss1_mask: 2", 10, "positions from 0 to 3 separated by commas"),
        ("members: 2", "members: {kind: folds}", 11, "Unknown kind of members 'folds'"),
        ("members: 2", "members: 2\nannotation: scrible", 12, "Did you mean 'scribble'?"),
        ("members: 2", "members: 2\nmixed_precision: yes", 12, "Write true."),
        ("members: 2", "members: 2\nsize: [48, 40]", 12, "`size[1]` must be a whole number, 16 or larger"),
        ("members: 2", "members: 2\nannotator: files", 7, "full masks drawn by a person weigh all pixels alike"),
        ("[0.1, {", "[-0.1, {", 12, "`rounds[0].add` must be a share of the pool such as 0.05, or a number"),
        ("[0.1, {", "[0, {", 12, "Rounds must add all shares or all numbers"),
        ("[0.1, {", "[0.0, {", 12, "the first round annotates nothing"),
        ("{add: 0.2, longer: 0.5}", "0.9", 12, "add up to 1.1 of the pool"),
        ("query: random}", "query: {strategy: random, featurs: pixels}}", 12, "key of rounds[1].query 'featurs'"),
    ],
)
def test_every_mistake_is_named_with_its_line(read, old, new, line, words):
    assert LINES.count(old) == 1
    message = problem(read, LINES.replace(old, new))
    assert f"mine.yml:{line}: " in message and words in message


def test_all_mistakes_at_once_in_the_order_of_lines(read):
    text = LINES.replace("steps: 100", "steps: x").replace("members: 2", "members: 2\nmembers: 3\nsed: 1")
    lines = problem(read, text, query__features="encodr").splitlines()
    places = [line.removeprefix("  - ").split(": ")[0].split("mine.yml:")[-1] for line in lines[1:]]
    assert places == ["5", "--set query.features=encodr", "12", "13"]


@pytest.mark.parametrize(
    "query, words",
    [
        ("uncertainty", "uncertainty needs scores of networks"),
        ("{strategy: uncertainty, score: bald}", "bald of a single network is 0 everywhere"),
        ("{strategy: coreset, features: pixels}", "coreset looks at no features"),
        ("{strategy: kcenter, features: encoder}", "encoder needs an encoder"),
        ("{strategy: uncertainty, score: vaal}", "vaal needs annotated units"),
        ("{strategy: random, score: entropy}", "random looks at no scores"),
        ("{strategy: random, safe: true, case_cap: 2}", "it obeys no `case_cap`. Remove one of the two"),
        ("{strategy: batchbald}", "batchbald compares networks or dropout passes. Add `passes`"),
        ("{strategy: uncertainty, score: entropy, balance: known}", "it has no effect without `per_label`"),
        ("{strategy: random, reduce: sum}", "have no effect without `score`"),
        ("{strategy: vaal, score: vaal, reduce: sum}", "vaal is no map that could be reduced"),
        ("{strategy: uncertainty, score: entropy, reduce: median}", "`query.reduce` must be one of mean, sum, foregr"),
        ("{strategy: {name: power, beta: 0}, score: entropy}", "'beta' must be a positive number"),
        ("{strategy: uncertainty, score: {name: axon_myelin, etd: no}, passes: 2}", "Did you mean 'edt'?"),
    ],
)
def test_queries_that_lack_something(read, query, words):
    assert words in problem(read, f"{PLAIN}query: {query}\nrounds: [0.1, 0.1]\n")


@pytest.mark.parametrize(
    "stop, words",
    [
        ("{metric: test_dice}", "`stop.metric` must be no number of the test volumes"),
        ("{budget: 0}", "`stop.budget` must be"),
        ("{uncertainty: 0.1}", "no query looks at scores. Remove it"),
    ],
)
def test_what_cannot_end_an_experiment(read, stop, words):
    assert words in problem(read, f"{PLAIN}rounds: [0.1, 0.1]\nstop: {stop}\n")


def test_later_settings_at_their_default_leave_digests_and_plans_alone(read):
    plain = f"{PLAIN}query: {{strategy: uncertainty, score: max}}\nrounds: [0.1, 0.1]\n"
    found = read(plain).settings()
    assert found["query"]["score"] == {"name": "expected_entropy", "options": {}}  # an alias is no other run
    assert found["query"]["strategy"]["options"] == {} and not {"reduce", "balance"} & found["query"].keys()
    assert read(plain + "stop: {budget: 3}\n").settings() == found
    other = read(plain, query__reduce="sum", query__strategy__shuffle_prop="0.1").settings()["query"]
    assert other["reduce"] == "sum" and other["strategy"]["options"] == {"shuffle_prop": 0.1}


def test_batches_of_dropout_passes_need_a_network(read):
    query = "query: {strategy: batchbald, passes: 20}\n"
    names = [one.strategy.name for one in read(f"{PLAIN}{query}rounds: [0.1, 0.1]\n").round_queries()]
    assert names == ["random", "batchbald"]


def test_passes_need_dropout(read):
    text = PLAIN.replace("scribble_unet", "resnet_unet") + "rounds: [0.1]\n"
    query = "query: {strategy: uncertainty, score: entropy, passes: 3}\n"
    assert "resnet_unet has no dropout" in problem(read, text + query)


def test_overrides_lead_into_what_a_file_shortens(read):
    found = read(LINES, query__strategy__pos_wt="2", members__count="3", encoder__epochs="1e1", seed="4")
    assert (found.query.strategy.options["pos_wt"], found.members.count, found.encoder.epochs) == (2.0, 3, 10)
    assert found.seed == 4 and found.query.strategy.name == "mfc"
    found = read(f"{PLAIN}rounds: [0.1]\n", query="{strategy: kcenter, features: pixels}", encoder="null")
    assert found.query.features == Named("pixels") and found.encoder is None
    assert read(f"{PLAIN}rounds: [0.1]\n", query__strategy__name="coreset").query.strategy == Named("coreset")


def test_until_a_network_is_trained_the_first_query_chooses(read):
    rounds = "rounds: [{add: 0.1, train: false}, 0.1, 0.1]\n"
    entropy = "query: {strategy: uncertainty, score: entropy}\n"
    names = [one.strategy.name for one in read(PLAIN + rounds + entropy).round_queries()]
    assert names == ["random", "random", "uncertainty"]
    found = read(PLAIN + rounds + entropy + "first_query: coreset\n")
    assert [one.strategy.name for one in found.round_queries()] == ["coreset", "coreset", "uncertainty"]
    assert read(f"{PLAIN}rounds: [0.1]\nquery: coreset\n").round_queries() == [QuerySettings(strategy=Named("coreset"))]


def amounts(plans):
    return [(one.units, one.fraction, one.training_share) for one in plans]


def test_plans_say_everything(read):
    plans = read(LINES).plans(50)
    assert amounts(plans) == [(5, 0.1, 0.1), (10, 0.2, 0.2), (20, 0.4, 0.9)]
    assert [one.query.strategy.name for one in plans] == ["mfc", "random", "mfc"]
    first = plans[0]
    assert first.query.strategy.options["pos_wt"] == 1500.0 and first.query.features.options == {"batch_size": 128}
    assert first.network.options["steps"] == 100 and first.network.options["val_every"] == 200
    assert (first.members.count, first.encoder.batch_size, first.annotation) == (2, 9, "mask")


def test_rounds_of_numbers(read):
    found = read(f"{PLAIN}rounds: [4, 6]\n")
    assert amounts(found.plans(40)) == [(4, 0.1, 0.1), (10, 0.25, 0.25)]
    with pytest.raises(ConfigError, match="10 units, and the pool has 9"):
        found.plans(9)
    with pytest.raises(ConfigError, match="Round 0 would train on nothing"):
        read(f"{PLAIN}rounds: [0.01]\n").plans(50)


def test_settings_are_plain_and_decide(read):
    first = read(LINES).settings()
    assert first == json.loads(json.dumps(first)) and (first["dataset"], first["strategy"]) == ("phantom", "mfc")
    assert read(LINES, name="other", rounds="[0.5]").settings() == first
    assert read(LINES, seed="1").settings() != first != read(LINES, network__steps="99").settings()
