"""The published way to call the histology experiments, and what it means here."""

import pytest

import fewslice.active.annotators
import fewslice.learner  # noqa: F401  makes all names known
from fewslice.core.errors import ConfigError
from fewslice.settings.compat.albaselines import FullSupervision, HistologyArgs, flags_of
from fewslice.settings.flags import read_from
from fewslice.settings.load import load_experiment
from fewslice.settings.yaml import Named, YamlFile

README = ["with", "heuristic='bald'", "run=0", "mc_iters=20", "results_dir='results'"]
# Fields of the published configurations and their defaults, from the specification.
PUBLISHED = {
    "data_path": "data/GlaS", "splits_path": "data/splits/glas", "preload": True, "patch_size": "416,416",
    "batch_size": 16, "n_label_start": 5, "manual_seed": None, "epochs": 60, "al_cycles": 15, "n_data_to_label": 1,
    "mc_iters": 20, "base_state_dict_path": "state_dicts/al_model.pt", "heuristic": "mc", "run": 0,
    "results_dir": "results/exp_10/", "save_maps": False, "balance_al": True, "num_classes": 2, "save_uncerts": False,
    "seed": None,
}  # fmt: skip


def test_every_published_field_has_its_default():
    assert {name: getattr(HistologyArgs(), name) for name in PUBLISHED} == PUBLISHED


@pytest.mark.parametrize(
    "words, flags",
    [
        (README, ["--heuristic=bald", "--run=0", "--mc_iters=20", "--results_dir=results"]),
        (["with", "patch_size=(64, 64)", "seed=None", "save_maps=True"], ["--patch_size=64,64", "--save_maps=True"]),
        (["with", "dataset.batch_size=64", "results_dir=out/x"], ["--results_dir=out/x"]),
        (["print_config", "with", "run=2"], ["--check_only", "--run=2"]),
        (["--heuristic=mc", "--run=1"], ["--heuristic=mc", "--run=1"]),
        ([], []),
    ],
)
def test_words_become_flags(words, flags):
    assert flags_of(words) == flags


@pytest.mark.parametrize(
    "words, text",
    [(["with", "heurstic=mc"], "heuristic"), (["run"], "Unknown command 'run'"), (["with", "run"], "Unknown field")],
)
def test_wrong_words_are_named(words, text):
    with pytest.raises(ConfigError, match=text):
        flags_of(words)


def values(*flags, cls=HistologyArgs):
    return read_from(cls, ["--dataset=phantom", *flags]).experiment.values


def test_the_readmes_command_is_a_native_experiment():
    found = values(*flags_of(README))
    assert found["name"] == "bald_0" and found["seed"] == 0 and found["dataset"] == "phantom"
    assert found["rounds"] == [4] + [2] * 15  # 4, 6, 8, ..., 34 images
    assert found["unit"] == {"name": "image", "label": "grade"} and found["first_query"] == {"strategy": "first"}
    query = {"strategy": "uncertainty", "score": "bald", "passes": 20, "per_label": 1, "balance": "known"}
    assert found["query"] == query
    network = {"name": "strided_unet", "epochs": 60, "batch_size": 16, "average": "probabilities", "patch": 416}
    assert found["network"] == network | {"drop_epochs": 40}


def test_random_choice_and_choice_without_classes():
    found = values("--heuristic=rand", "--run=3", "--seed=10", "--al_cycles=2", "--save_maps")
    assert found["query"] == {"strategy": "random", "per_label": 1, "balance": "known"} and found["seed"] == 13
    found = values("--heuristic=mc", "--nobalance_al", "--n_data_to_label=3", "--al_cycles=2", "--save_uncerts")
    assert found["unit"] == {"name": "image"} and found["rounds"] == [4, 3, 3]
    query = {"strategy": "uncertainty", "score": "vote_variance", "passes": 20, "save_uncerts": True}
    assert found["query"] == query


QUERIES = {  # heuristic -> strategy, score
    "mc": ("uncertainty", "vote_variance"), "ensemble_variance": ("uncertainty", "ensemble_variance"),
    "bald": ("uncertainty", "bald"), "entropy": ("uncertainty", "entropy"), "max": ("uncertainty", "expected_entropy"),
    "margin": ("uncertainty", "margin"), "least_confidence": ("uncertainty", "least_confidence"),
    "power": ("power", "bald"), "batchbald": ("batchbald", None), "rand": ("random", None),
    "axon_myelin": ("uncertainty", "axon_myelin"), "vote_variance_edt": ("uncertainty", "vote_variance_edt"),
    "axon_myelin:edt=false:threshold=1": ("uncertainty", Named("axon_myelin", {"edt": False, "threshold": 1.0})),
    "bald:shuffle_prop=0.2": (Named("uncertainty", {"shuffle_prop": 0.2}), "bald"),
    "power:score=entropy:beta=2:kind=softmax": (Named("power", {"beta": 2.0, "kind": "softmax"}), "entropy"),
    "batchbald:configurations=50": (Named("batchbald", {"configurations": 50}), None),
}  # fmt: skip


@pytest.mark.parametrize("heuristic", QUERIES)
def test_every_heuristic_is_a_query_of_an_experiment(heuristic):
    """From active.py, and the same names in an experiment's file."""
    strategy, score = (Named(one) if isinstance(one, str) else one for one in QUERIES[heuristic])
    args = read_from(HistologyArgs, ["--dataset=phantom", f"--heuristic={heuristic}", "--nobalance_al"])
    found = load_experiment(args.experiment).query
    assert (found.strategy.name, found.score and found.score.name) == (strategy.name, score and score.name)
    assert strategy.options.items() <= found.strategy.options.items()
    assert not score or score.options.items() <= found.score.options.items()
    assert found.passes == (1 if heuristic == "rand" else 20)
    written = {"strategy": {"name": strategy.name, **strategy.options}, "passes": found.passes}
    written |= {"score": {"name": score.name, **score.options}} if score else {}
    file = YamlFile("mine.yml", args.experiment.values | {"query": written}, {}, ())
    assert load_experiment(file).query == found


def test_names_of_runs_and_reductions():
    found = values("--heuristic=entropy:reduce=sum", "--save_maps")
    assert found["name"] == "entropy-reduce-sum_0"
    query = {"strategy": "uncertainty", "score": "entropy", "reduce": "sum", "save_maps": True, "passes": 20}
    assert found["query"] == query | {"per_label": 1, "balance": "known"}


@pytest.mark.parametrize(
    "heuristic, text",
    [
        ("blad", "Unknown heuristic 'blad'. Did you mean 'bald'.*batchbald.*entropy.*max, mc, power, rand.*variance"),
        ("vaal", "Unknown heuristic 'vaal'(?!.*vaal)"),  # its score is none of dropout passes
        ("bald:shufle_prop=1", "shufle_prop"),
        ("rand:beta=2", "beta"),
    ],
)
def test_wrong_heuristics_are_named(heuristic, text):
    with pytest.raises(ConfigError, match=text):
        load_experiment(read_from(HistologyArgs, ["--dataset=phantom", f"--heuristic={heuristic}"]).experiment)


def test_what_has_no_flag_is_set():
    published = flags_of(["with", "set=network.width=8"])
    args = read_from(HistologyArgs, ["--dataset=phantom", *published, "--set=grid=whole"])
    assert args.overrides == {"network.width": "8", "grid": "whole"}


def test_full_supervision_takes_everything_in_one_round():
    found = values("--epochs=2", "--drop_epochs=1", cls=FullSupervision)
    assert found["rounds"] == [1.0] and (found["network"]["epochs"], found["network"]["drop_epochs"]) == (2, 1)


def test_fields_without_effect_say_so(caplog):
    read_from(HistologyArgs, ["--dataset=phantom", "--nopreload", "--n_label_start=7"])
    assert "--preload=False has no effect: prepared images are memory-mapped." in caplog.text
    assert "--n_label_start=7 has no effect: the published code starts with 4 images" in caplog.text
