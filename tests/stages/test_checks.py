"""What is refused before Keras is imported. Expected values: by hand, from `crop_limits` and the settings of tiny.

tiny (tests/train_model/tiny.py) has slices of 32 x 32, batches of 2 (mtask_bs) and the lists tr1 (001) and tr4 (001 to
004); 005 validates.
"""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import sys

import pytest

from fewslice.core.errors import ConfigError
from fewslice.settings.stage_flags import Baseline, GlobalPretraining
from fewslice.stages import checks
from tests.data.layouts import dataset
from tests.golden_files import REPOSITORY
from tests.train_model import tiny


@pytest.fixture
def start(tiny_root, tmp_path, monkeypatch):
    """A function (stage, *flags) that makes the checks of a stage before Keras is imported."""
    for name, value in tiny.environment(tiny_root).items():
        monkeypatch.setenv(name, value)
    return lambda stage, *more: checks.check(*tiny.read(stage, tmp_path, *more))


ONE_STRUCTURE = "--set=num_classes=2 --set=struct_name=rv --set=class_weights=.1,.9"
NO_GLOBAL, NO_LOCAL, NO_BASELINE = (f"No run of {name} with " for name in (tiny.GLOBAL, tiny.LOCAL, tiny.BASELINE))


@pytest.mark.parametrize(
    ("stage", "flag", "message"),
    [
        (tiny.GLOBAL, "--devices=2", "--devices=2: a contrastive loss needs every image"),
        (tiny.LOCAL, "--devices=2", "--devices=2: a contrastive loss needs every image"),
        (tiny.JOINT, "--devices=2", "--devices=2: the rows of a batch belong together"),
        (tiny.BASELINE, "--devices=3", "--devices=3 must divide the batch of 2 slices evenly"),
        (tiny.ENCODER, "--devices=3", "--devices=3 must divide the batch of 2 slices evenly"),
        (tiny.GLOBAL, "--bbox_dim=1000", "Received: bbox_dim=1000"),
        (tiny.BASELINE, "--augment=noise,blurr", "--augment: Unknown transform 'blurr'.*Did you mean 'blur'"),
        (tiny.BASELINE, "--unet=8,8,8,8,8,8,8", "halves slices 6 times; the .32, 32. pixels.*multiples of 64"),
        (tiny.LOCAL, "--unet=8,8 --no_of_decoder_blocks=2", "--no_of_decoder_blocks=2: the U-Net 8,8 has 1"),
        (tiny.LOCAL, "--seed=0", NO_GLOBAL + ".*bbox_dim=20.*seed=0"),
        (tiny.ENCODER, "--seed=0", NO_GLOBAL + ".*lr_reg=0.001.*bbox_dim=20"),
        (tiny.ENCODER_DECODER, "--seed=0", NO_LOCAL + ".*local_loss_exp_no=0.*no_of_neg_local_regions=5"),
        (tiny.ENCODER_DECODER, "--local_loss_exp_no=1", NO_LOCAL + ".*no_of_neg_regs_override=4"),
        (tiny.JOINT, "--seed=0", NO_BASELINE + ".*n_iter=4.*dsc_loss=2"),
        (tiny.JOINT, "--teacher=nowhere", "--teacher=nowhere: expected a run folder.*Found: nothing"),
        (tiny.JOINT, "--check_only --init_from=nowhere", "--init_from=nowhere: expected a run folder"),
        (tiny.BASELINE, "--init_from=nowhere", "--init_from=nowhere: expected a run folder"),
        (tiny.JOINT, "--unl_no_of_tr_imgs=tr1", "The list tr1 c1 of tiny holds no volume but labelled and validation"),
        (tiny.JOINT, "--unl_no_of_tr_imgs=tr9", "Unknown split --unl_no_of_tr_imgs 'tr9'"),
        (tiny.JOINT, "--bt_size=1", "bt_size"),
        (tiny.JOINT, "--min_classes=4", "--min_classes=4: tiny has 3 classes"),
        (tiny.JOINT, ONE_STRUCTURE, "one structure.*--lamda_local=0"),
    ],
)
def test_refused_before_keras(start, stage, flag, message):
    with pytest.raises(ConfigError, match=f"(?s){message}"):
        start(stage, *flag.split(" "))


@pytest.mark.parametrize(
    ("stage", "flags"),
    [
        (tiny.GLOBAL, ()),
        (tiny.BASELINE, ("--devices=2",)),
        (tiny.ENCODER, ("--init_from=none",)),
        (tiny.ENCODER_DECODER, ("--init_from=none", "--devices=1")),
    ],
)
def test_what_is_right_begins(start, stage, flags):
    start(stage, *flags)


def test_rules_of_pseudo_labels_hold_for_the_method_that_has_them(start):
    """Of the others the next check answers."""
    with pytest.raises(ConfigError, match="--refresh_every=3 must be a multiple"):
        start(tiny.JOINT, "--refresh_every=3")
    for method in ("unimatch", "copy_paste"):
        with pytest.raises(ConfigError, match=NO_BASELINE):
            start(tiny.JOINT, "--refresh_every=3", f"--method={method}")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--unlabelled_bs=1",), "--unlabelled_bs=1: .*Give --unlabelled_bs=2 or more"),
        (("--set=mtask_bs=1",), "--unlabelled_bs=0: mtask_bs=1 in tiny, .*Give --unlabelled_bs=2 or more"),
    ],
)
def test_a_single_unlabelled_slice_is_refused_where_slices_are_mixed(start, flags, message):
    """Two pass and the next check answers, with mtask_bs=1 too; contrastive mixes none."""
    for method in ("unimatch", "copy_paste"):
        with pytest.raises(ConfigError, match=message):
            start(tiny.JOINT, *flags, f"--method={method}")
        for right in (("--unlabelled_bs=2",), ("--set=mtask_bs=1", "--unlabelled_bs=2"), ()):
            with pytest.raises(ConfigError, match=NO_BASELINE):
                start(tiny.JOINT, *right, f"--method={method}")
    with pytest.raises(ConfigError, match=NO_BASELINE):
        start(tiny.JOINT, *flags)


@pytest.mark.parametrize(
    ("fourth", "flags", "expected"),
    [
        ("004", (), ["002_ED", "003_ED", "004_ED"]),
        ("004", ("--published_lists=1",), ["001_ED", "002_ED", "003_ED", "004_ED"]),
        ("005", (), ["002_ED", "003_ED"]),
    ],
    ids=["labelled", "published", "validation"],
)
def test_which_volumes_get_no_pseudo_labels(start, with_fourth, tmp_path, fourth, flags, expected):
    """Labelled ones (001), unless the published lists are asked for, and those that validate (005)."""
    with_fourth(fourth)
    cases = checks.unlabelled_cases(*tiny.read(tiny.JOINT, tmp_path, *flags))
    assert [case.case_id for case in cases] == expected


def test_a_test_patient_in_the_unlabelled_list_is_refused(start, with_fourth):
    with_fourth("7")
    with pytest.raises(ConfigError, match="The list tr4 of tiny contains the test patients 7"):
        start(tiny.JOINT)


@pytest.fixture
def with_fourth(tiny_root, tmp_path, monkeypatch):
    """A function that puts a patient in the place of the fourth of the unlabelled list."""

    def replace(patient):
        experiments = shutil.copytree(tiny_root / "experiments", tmp_path / "experiments")
        text = (experiments / "data_cfg_tiny.py").read_text()
        (experiments / "data_cfg_tiny.py").write_text(text.replace('"003", "004"]', f'"003", "{patient}"]'))
        monkeypatch.setenv("FEWSLICE_EXPERIMENTS", str(experiments))

    return replace


def test_the_checks_import_no_keras():
    text = "import sys\nimport fewslice.stages.checks, fewslice.train.upstream, fewslice.data.readers.selection\n"
    text += "import fewslice.stages.histology, fewslice.stages.study\n"
    command = [sys.executable, "-c", f"{text}sys.exit(int('keras' in sys.modules))"]
    assert subprocess.run(command, cwd=REPOSITORY, timeout=60).returncode == 0


def check_box(box, size):
    settings = dataclasses.replace(dataset("acdc"), img_size_x=size[0], img_size_y=size[1])
    checks.check_settings(GlobalPretraining(bbox_dim=box), settings)


@pytest.mark.parametrize("changes", [{"img_size_x": 3_200_000}, {"mtask_bs": 10**6}])
def test_batch_that_no_memory_holds(changes):
    with pytest.raises(ConfigError, match=r"A batch of \d+ slices of .* GB are more than the limit of 2.5 GB"):
        checks.check_settings(Baseline(), dataclasses.replace(dataset("acdc"), img_size_y=256, **changes))


@pytest.mark.parametrize(
    "box, size", [(192, (192, 192)), (160, (160, 160)), (100, (64, 64)), (192, (64, 64)), (20, (32, 32))]
)
def test_crop_that_fits(box, size):
    check_box(box, size)


@pytest.mark.parametrize(
    "box, size, words",
    [
        (193, (192, 192), "img_size_x=192 in acdc. Received: bbox_dim=193. Give a smaller"),
        (193, (224, 192), "img_size_y=192 in acdc. Received: bbox_dim=193. Give a smaller"),
        (1000, (192, 192), "must not exceed the side of a slice, since a crop is a part of it"),
        # 200 * 64 / 192 = 66.7
        (200, (64, 64), r"img_size_x=64 in acdc. Received: bbox_dim=200 \(67 px after scaling from a side of 192 px\)"),
        # 2 * 32 / 192 = 0.3
        (2, (32, 32), "`bbox_dim`=2 does not fit img_size_x=32 of acdc. .* at least 2 px"),
    ],
)
def test_crop_that_does_not_fit(box, size, words):
    with pytest.raises(ConfigError, match=words):
        check_box(box, size)
