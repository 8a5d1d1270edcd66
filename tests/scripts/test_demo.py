"""The demonstration's flags fit the stages that it runs; the chain's script answers wrong arguments.

Running the demonstration takes minutes and is `make demo`; here only what could break it unnoticed is checked.
"""

from __future__ import annotations

import subprocess

import pytest

from fewslice.settings.declare import settings_of
from fewslice.settings.flags import read_from
from fewslice.settings.stage_flags import STAGES, Segmentation
from tests.golden_files import REPOSITORY
from tests.scripts.running import loaded

CHAIN = REPOSITORY / "train_model" / "pretrain_and_fine_tune_script.sh"


@pytest.fixture(scope="module")
def demo():
    """scripts/demo.py as a module, with flags of its own."""
    with loaded("demo") as module:
        yield module


def test_every_stage_is_shown_once_and_its_flags_are_right(demo):
    stages = demo.stages()
    shown = [cls.stage for _, cls, _ in stages]
    left_out = {
        "prop_method_joint_tr_rand_init",  # takes longer
        "pretr_encoder_group_contrastive_loss",  # is for choosing slices; no segmentation starts from it
    }
    assert sorted(shown) == sorted(set(STAGES) - left_out)
    for _, cls, values in stages:
        args, dataset = read_from(cls, ["--dataset=phantom", *values])
        assert dataset.name == "phantom"
        assert isinstance(args, cls)


def test_all_trainings_with_labels_get_the_same_steps_volume_and_seed(demo):
    labelled = [
        read_from(cls, ["--dataset=phantom", *values])[0]
        for _, cls, values in demo.stages()
        if issubclass(cls, Segmentation)
    ]
    assert len(labelled) == 3
    assert len({(args.n_iter, args.train_ids, args.seed, args.average_decay) for args in labelled}) == 1


def chain(folder, *arguments, fails="-"):
    """Runs the chain with an interpreter that writes down its arguments. Returns the status and the calls."""
    fake = folder / "python"
    fake.write_text(f'#!/usr/bin/env bash\necho "$@" >> {folder}/log\n[[ "$1" != {fails} ]]\n')
    fake.chmod(0o755)
    environment = {"PYTHON": str(fake), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(["bash", str(CHAIN), *arguments], env=environment, capture_output=True)
    return done.returncode, [line.split() for line in (folder / "log").read_text().splitlines()]


def test_the_chain_hands_flags_to_each_stage_and_stops_at_the_first_failure(tmp_path):
    status, calls = chain(
        tmp_path, "phantom", "tr2", "c2", "--n_iter=7", "--local_n_iter=3", "--seed=5", fails="tr_baseline.py"
    )
    assert status != 0
    assert [call[0] for call in calls] == [
        "pretr_encoder_global_contrastive_loss.py",
        "pretr_decoder_local_contrastive_loss.py",
        "tr_baseline.py",
    ]
    assert all("--dataset=phantom" in call and "--seed=5" in call for call in calls)
    assert "--n_iter=7" in calls[0]
    assert {"--n_iter=3", "--pretr_n_iter=7"} <= set(calls[1])
    assert {"--no_of_tr_imgs=tr2", "--comb_tr_imgs=c2", "--n_iter=7"} <= set(calls[2])


def test_the_chain_hands_batch_sizes_to_the_stages_that_have_them(tmp_path):
    flags = ("--bt_size=6", "--n_parts=3", "--strong_views=1", "--batch_negatives=1")
    status, calls = chain(tmp_path, "phantom", *flags)
    calls = [call for call in calls if call[0].startswith(("pretr", "ft", "tr"))]
    assert status == 0 and len(calls) == 5
    for script, *words in calls:
        names = {word.split("=")[0][2:] for word in words}
        for name in ("bt_size", "n_parts", "strong_views", "batch_negatives"):
            assert (name in names) == (name in settings_of(STAGES[script.removesuffix(".py")])), (script, name)


def test_the_chain_refuses_what_it_does_not_understand():
    done = subprocess.run(["bash", str(CHAIN), "phantom", "--seed", "1"], capture_output=True, text=True)
    assert done.returncode == 1
    assert "--name=value" in done.stderr
