"""The demonstration's flags fit the stages that it runs; the chain's script answers wrong arguments.

Running the demonstration takes minutes and is `make demo`; here only what could break it unnoticed is checked.
"""

from __future__ import annotations

import subprocess

import nibabel as nib
import numpy as np
import pytest

from fewslice.settings.declare import settings_of
from fewslice.settings.flags import read_from
from fewslice.settings.stage_flags import STAGES, Baseline, DecoderFineTuning
from tests.golden_files import REPOSITORY
from tests.scripts.running import loaded

CHAIN = REPOSITORY / "train_model" / "pretrain_and_fine_tune_script.sh"


@pytest.fixture(scope="module")
def demo():
    """scripts/demo.py as a module, with flags of its own."""
    with loaded("demo") as module:
        yield module


def test_the_flags_of_all_trainings_are_right_and_each_starts_from_an_earlier_one(demo):
    before = {""}
    for job in demo.jobs():
        args, dataset = read_from(job.cls, ["--dataset=phantom", *job.flags])
        assert dataset.name == "phantom" and isinstance(args, job.cls)
        assert job.start in before and job.label not in before
        before.add(job.label)
    folders = [(job.dataset, job.cls.stage) for job in demo.jobs()]
    assert len(folders) == len(set(folders))  # the run of a training is found by these


def test_chosen_and_random_slices_get_the_same_steps_and_seed(demo):
    labelled = [job for job in demo.jobs() if issubclass(job.cls, (Baseline, DecoderFineTuning))]
    assert {job.dataset for job in labelled} == set(demo.STRATEGIES) and len(labelled) == 3
    args = [read_from(job.cls, ["--dataset=phantom", *job.flags])[0] for job in labelled]
    assert len({(each.n_iter, each.no_of_tr_imgs, each.seed, each.average_decay) for each in args}) == 1


def test_a_person_paints_the_listed_slices_alone(demo, tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "at", tmp_path.joinpath)
    truth, blank = np.ones((4, 5, 3), np.uint8), np.full((4, 5, 3), 9, np.uint8)
    for path, array in (
        (demo.phantom(7, "_gt"), truth),
        (tmp_path / "chosen" / "to_annotate" / "heart007_annotation.nii.gz", blank),
    ):
        path.parent.mkdir(parents=True)
        nib.save(nib.Nifti1Image(array, np.diag([2.0, 3, 4, 1])), path)
    (tmp_path / "chosen" / "to_annotate" / "slices.csv").write_text("volume,slice\nheart007,2\nheart007,0\n")
    (tmp_path / "chosen" / "annotated").mkdir()
    demo.paint(tmp_path / "chosen")
    painted = nib.load(tmp_path / "chosen" / "annotated" / "heart007_annotation.nii.gz")
    assert np.asarray(painted.dataobj)[0, 0].tolist() == [1, 9, 1] and painted.header.get_zooms() == (2, 3, 4)


def chain(folder, *arguments, fails="-"):
    """Runs the chain with an interpreter that writes down its arguments. Returns the status and the scripts' calls."""
    fake = folder / "python"
    fake.write_text(f'#!/usr/bin/env bash\necho "$@" >> {folder}/log\n[[ "$1" != {fails} ]]\n')
    fake.chmod(0o755)
    environment = {"PYTHON": str(fake), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(["bash", str(CHAIN), *arguments], env=environment, capture_output=True)
    calls = [line.split() for line in (folder / "log").read_text().splitlines()]
    return done.returncode, [call for call in calls if call[0] != "-c"]  # which asks whether there is an environment


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
