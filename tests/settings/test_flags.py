"""Command-line flags.

Expected defaults: the table of the published commands, typed here by hand, with the two shared defaults
(global loss 2, three decoder blocks) in place of the published ones that contradict each other; for group contrastive
training the published configuration for ACDC (100 epochs of 483 batches, 9 slices, volume and patient partners).
"""

from __future__ import annotations

import subprocess
import sys

import pytest
from absl import flags

from fewslice.core.errors import ConfigError
from fewslice.settings.al_flags import AlArgs
from fewslice.settings.declare import settings_of
from fewslice.settings.flags import define, help_text, read, read_from
from fewslice.settings.stage_flags import STAGES, OnDataset, digest_values

ENCODER = "pretr_encoder_global_contrastive_loss"
GROUP = "pretr_encoder_group_contrastive_loss"
DECODER = "pretr_decoder_local_contrastive_loss"
FT_ENCODER = "ft_pretr_encoder_net_global_loss"
FT_DECODER = "ft_pretr_encoder_decoder_net_local_loss"
BASELINE = "tr_baseline"
JOINT = "prop_method_joint_tr_rand_init"

LOCAL = {
    "local_loss_exp_no": 0, "no_of_local_regions": 13, "no_of_decoder_blocks": 3, "local_reg_size": 1,
    "wgt_en": 1, "no_of_neg_local_regions": 5, "no_of_neg_regs_override": 4,
}  # fmt: skip
CONTRASTIVE = {"lr_reg": 0.001, "temp_fac": 0.1, "global_loss_exp_no": 2, "n_parts": 4}
SEGMENTATION = {
    "lr_seg": 0.001, "dsc_loss": 2, "rd_en": 1, "ri_en": 1, "rd_ni": 1, "sigma": 5.0, "en_1hot": 1, "ri_per_image": 1,
    "strong_aug": 0,
}  # fmt: skip
EARLIER = {
    "pretr_data_aug": 0, "pretr_no_of_tr_imgs": None, "pretr_comb_tr_imgs": "c1", "pretr_ver": 0,
    "pretr_n_iter": 10001,
}  # fmt: skip
EVERY = {
    "dataset": "acdc", "comb_tr_imgs": "c1", "ver": 0, "n_iter": 10001, "seed": 0, "devices": 1, "resume": True,
}  # fmt: skip

DEFAULTS = {
    ENCODER: EVERY | CONTRASTIVE | {"no_of_tr_imgs": None, "data_aug": 0, "bbox_dim": 100, "bt_size": 12},
    DECODER: EVERY | CONTRASTIVE | LOCAL | EARLIER
    | {"no_of_tr_imgs": None, "data_aug": 0, "bbox_dim": 100, "bt_size": 12, "pretr_bbox_dim": 100},
    GROUP: EVERY
    | {"n_iter": 48301, "encoder": "resnet18", "projection_dim": 64, "temperature": 0.5, "lr": 3e-4,
       "weight_decay": 1e-6, "batch_size": 9, "loss_wt": 1.0, "neg_loss_wt": 0.0, "pos_loss1_wt": 0.35,
       "pos_loss2_wt": 0.05, "pos_loss3_wt": 0.0, "pos_loss1_mask": "2", "pos_loss2_mask": "", "pos_loss3_mask": "",
       "positives": "group", "use_slice_pos": 0, "use_phase": 1, "use_patient": 1,
       "reset_sampler_every_epoch": 0, "no_of_tr_imgs": None},
    FT_ENCODER: EVERY | CONTRASTIVE | SEGMENTATION | EARLIER
    | {"no_of_tr_imgs": "tr1", "data_aug": 1, "bbox_dim": 100, "bt_size": 12},
    FT_DECODER: EVERY | CONTRASTIVE | LOCAL | SEGMENTATION | EARLIER
    | {"no_of_tr_imgs": "tr1", "data_aug": 1, "pretr_cont_bbox_dim": 100},
    BASELINE: EVERY | SEGMENTATION | {"no_of_tr_imgs": "tr2"},
    JOINT: EVERY | SEGMENTATION
    | {"no_of_tr_imgs": "tr2", "n_iter": 15001, "temp_fac": 0.1, "bbox_dim": 150, "local_loss_exp_no": 1, "bt_size": 10,
       "pretr_n_iter": 5001, "data_aug": 0, "lamda_local": 0.1, "no_of_pos_eles": 3, "no_of_neg_eles": 3,
       "test_aug_overlap": 0, "test_f1_threshold": 0.9},
}  # fmt: skip
ABSENT = {
    ENCODER: ("lr_seg", "pretr_ver", "local_loss_exp_no"),
    GROUP: ("lr_reg", "temp_fac", "bt_size", "data_aug", "lr_seg"),
    DECODER: ("lr_seg", "dsc_loss", "pretr_cont_bbox_dim"),
    FT_ENCODER: ("local_loss_exp_no", "pretr_bbox_dim"),
    FT_DECODER: ("bbox_dim", "bt_size"),
    BASELINE: ("lr_reg", "data_aug", "temp_fac", "pretr_ver"),
    JOINT: ("lr_reg", "n_parts", "global_loss_exp_no", "pretr_ver"),
}


def parsed(stage, *arguments):
    values = flags.FlagValues()
    define(STAGES[stage], flag_values=values)
    values(["script", *arguments])
    return values


def completed(stage, *arguments):
    return read(STAGES[stage], parsed(stage, *arguments))


@pytest.mark.parametrize("stage", STAGES)
def test_names_and_defaults_are_the_published_ones(stage):
    values = parsed(stage)
    assert {name: values[name].value for name in DEFAULTS[stage]} == DEFAULTS[stage]
    assert [name for name in ABSENT[stage] if name in values] == []
    for name, default in DEFAULTS[stage].items():
        assert type(values[name].value) is type(default)


def test_both_ways_to_write_a_flag():
    values = parsed(BASELINE, "--n_iter=7", "--dataset", "phantom", "--noresume", "--set", "mtask_bs=4", "--set=fs=3")
    assert (values.n_iter, values.dataset, values.resume) == (7, "phantom", False)
    assert values["set"].value == ["mtask_bs=4", "fs=3"]


@pytest.mark.parametrize(
    "stage, argument, message",
    [
        (ENCODER, "--temp_fac=0", "`temp_fac` must be a positive number. Received: temp_fac=0"),
        (ENCODER, "--temp_fac=nan", "`temp_fac` must be a positive number"),
        (ENCODER, "--n_parts=1", "`n_parts` must be a whole number, 2 or larger. Received: n_parts=1"),
        (ENCODER, "--global_loss_exp_no=5", "`global_loss_exp_no` must be a whole number from 0 to 4"),
        (GROUP, "--encoder=resnet34", "`encoder` must be one of resnet18, resnet50. Received: encoder=resnet34"),
        (GROUP, "--pos_loss1_mask=2;3", "`pos_loss1_mask` must be positions from 0 to 3 separated by commas"),
        (GROUP, "--pos_loss1_mask=4", "`pos_loss1_mask` must be positions from 0 to 3 separated by commas"),
        (GROUP, "--pos_loss2_wt=-1", "`pos_loss2_wt` must be a number, 0 or larger"),
        (DECODER, "--no_of_local_regions=10", "`no_of_local_regions` must be 9 or 13"),
        (BASELINE, "--lr_seg=inf", "`lr_seg` must be a positive number"),
        (BASELINE, "--average_decay=1", "`average_decay` must be a number from 0, below 1"),
        (BASELINE, "--n_iter=ten", "ten"),
        (BASELINE, "--dataset=acdcc", "Unknown dataset 'acdcc'. Did you mean 'acdc'?"),
        (BASELINE, "--dataset=mine", "For your own scans, scripts/add_dataset.py writes experiment_init/init_"),
        (BASELINE, "--n_itr=3", "n_iter"),
    ],
)
def test_wrong_flag_is_named(stage, argument, message):
    with pytest.raises(flags.Error) as caught:
        parsed(stage, argument)
    error = caught.value
    assert message in str(error) or message in getattr(error, "suggestions", ())


def test_pretraining_reads_the_unlabeled_split_by_default():
    args, dataset = completed(ENCODER, "--dataset=acdc")
    assert args.no_of_tr_imgs == "tr52" and len(args.train_ids) == 52 and args.val_ids == ()
    assert dataset.name == "acdc"


def test_labeled_stage_gets_its_lists_and_the_earlier_split():
    args, _ = completed(FT_DECODER, "--dataset=acdc", "--comb_tr_imgs=c2")
    assert args.train_ids == ("042",) and args.val_ids == ("031", "072")
    assert args.pretr_no_of_tr_imgs == "tr52" and args.stage == FT_DECODER


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--no_of_tr_imgs=tr3"], "Unknown split --no_of_tr_imgs 'tr3'"),
        (["--no_of_tr_imgs=tr1", "--comb_tr_imgs=c9"], "Unknown combination --comb_tr_imgs of tr1 'c9'"),
        (["--set", "img_size=3"], "Did you mean 'img_size_"),
        (["--set", "img_size_x"], "--set must be name=value"),
        (["--set", "mtask_bs=3", "--set", "mtask_bs=4"], "given twice"),
        (["--dataset=mmwhs", "--no_of_tr_imgs=tr10"], "share patients 1002, 1005, 1008, 1010"),
    ],
)
def test_wrong_values_that_need_the_dataset(arguments, message):
    with pytest.raises(ConfigError, match=message.replace("'", ".")):
        completed(BASELINE, *arguments)


def test_overrides_and_data_root_reach_the_settings(monkeypatch, tmp_path):
    monkeypatch.setenv("FEWSLICE_DATA", "elsewhere")
    args, dataset = completed(BASELINE, f"--data_root={tmp_path}", "--set", "img_size_x=256")
    assert dataset.size == (256, 192) and args.data_root == str(tmp_path) == str(dataset.data_root)
    with pytest.raises(AttributeError):
        args.seed = 1


def test_flags_without_effect_are_announced(caplog):
    with caplog.at_level("WARNING", logger="absl"):
        completed(BASELINE, "--en_1hot=0", "--rd_en=0")
    assert [record.getMessage() for record in caplog.records] == [
        "--en_1hot=0 has no effect: labels are always one-hot."
    ]


def test_flags_of_another_method_are_told_and_left_out_of_the_digest(caplog):
    def values(*arguments):
        return digest_values(completed(JOINT, *arguments)[0])

    assert values("--method=unimatch") == values("--method=unimatch", "--lamda_local=.5", "--crf=none")
    assert "--lamda_local=0.5 has no effect: it belongs to --method=contrastive." in caplog.messages
    assert values("--method=unimatch") != values("--method=unimatch", "--confidence=.8")
    assert values("--method=copy_paste") == values("--method=copy_paste", "--confidence=.8")
    assert values() == values("--teacher_decay=.5") and values() != values("--soft_labels=1")


def test_digest_values_hold_what_decides_a_run():
    def values(*arguments):
        return digest_values(completed(BASELINE, *arguments)[0])

    same = ("--n_iter=5", "--runs_dir=x", "--tensorboard", "--en_1hot=0", "--noresume", "--set", "mtask_bs=3")
    assert values() == values(*same)
    for change in ("--seed=1", "--lr_seg=0.01", "--comb_tr_imgs=c2", "--ver=1", "--dsc_loss=1"):
        assert values() != values(change)


@pytest.mark.parametrize("stage", [BASELINE, FT_ENCODER, FT_DECODER])
def test_mixup_counts_for_the_digest_where_it_is_on(stage):
    """Runs from before the flag keep their digests."""

    def values(*arguments):
        return digest_values(completed(stage, *arguments)[0])

    assert "mixup" not in values() and values("--mixup=0") == values()
    assert values("--mixup=0.1") == {**values(), "mixup": 0.1}


def test_single_flags_for_other_scripts():
    values = flags.FlagValues()
    define(OnDataset, "dataset", "set", "data_root", flag_values=values)
    values(["script", "--dataset=phantom", "--set", "mtask_bs=2"])
    assert read(OnDataset, values).load_dataset().mtask_bs == 2
    with pytest.raises(ConfigError, match="Did you mean 'seed'"):
        define(OnDataset, "sed", flag_values=values)


def test_every_flag_explains_itself():
    texts = {each.help.text for cls in STAGES.values() for each in settings_of(cls).values()}
    assert [text for text in texts if not text.endswith((".", "1.5,1.5", "tr10 for mmwhs)."))] == []


def test_a_stage_may_explain_a_flag_in_its_own_way():
    def text(stage, name):
        return help_text(settings_of(STAGES[stage])[name])

    assert text(JOINT, "pretr_n_iter") == "Training steps of the baseline. (Here only to find the earlier stage.)"
    assert text(FT_ENCODER, "pretr_n_iter").endswith("to find the earlier stage.)")
    assert "100 epochs of 483 batches" in text(GROUP, "n_iter")
    assert "0 takes --teacher_decay" in text(JOINT, "average_decay")
    assert "teacher" not in text(BASELINE, "average_decay")


@pytest.mark.parametrize(
    "argument, status, message",
    [
        ("--help", 0, "--dsc_loss"),
        ("--dataset=mine", 1, "scripts/add_dataset.py"),
    ],
)
def test_scripts_answer_without_keras(tmp_path, argument, status, message):
    script = tmp_path / "script.py"
    script.write_text(
        "from fewslice.core import app\nfrom fewslice.settings import flags, stage_flags\n"
        "flags.define(stage_flags.Baseline)\napp.run(lambda argv: 1 / 0)\n"
    )
    command = [sys.executable, "-X", "importtime", str(script), argument]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert message in done.stdout + done.stderr
    assert done.returncode == status
    loaded = {line.split()[-1] for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "fewslice.core.app" in loaded and not {"keras", "tensorflow"} & loaded


def test_hours_and_steps_are_not_given_together():
    with pytest.raises(ConfigError, match="--hours=1 and --n_iter=5 both set the length"):
        completed(BASELINE, "--hours=1", "--n_iter=5")
    with pytest.raises(ConfigError, match="--hours=1: the steps of an experiment belong to its file"):
        read_from(AlArgs, ["--config=some.yml", "--hours=1"])
    args, _ = completed(BASELINE, "--hours=1")
    assert args.hours == 1 and "hours" not in digest_values(args)
