"""`scripts/add_dataset.py` on names, folders and labels that could be misread. Expected lists and words by hand."""

from __future__ import annotations

import json
import os
import pathlib
import re

import numpy as np
import pytest

from fewslice.core import files
from fewslice.core.errors import FewSliceError, plural
from fewslice.data.readers import get_reader
from fewslice.data.readers.selection import find_readable
from fewslice.settings import datasets
from fewslice.settings.flags import read_from
from fewslice.settings.stage_flags import Baseline, GlobalPretraining
from fewslice.stages import checks
from tests.data.layouts import image, label, save
from tests.scripts import running

NAMES = [f"p{index}" for index in range(5)]


def write(folder, names, *, labels=(), code=1):
    for seed, name in enumerate(names):
        save(folder / "images" / name, image(seed))
    for seed, name in enumerate(labels):
        save(folder / "labels" / name, (label(seed) > 1).astype(np.uint8) * code)


def packed(names):
    return [f"{name}.nii.gz" for name in names]


def add(folder, *flags, status=0, raw=False):
    places = [f"--images={folder}"] if raw else [f"--images={folder / 'images'}"]
    places += [f"--labels={folder / 'labels'}"] if (folder / "labels").is_dir() and not raw else []
    done = running.run("add_dataset", "--name=mine", *places, f"--output_dir={folder / 'out'}", *flags)
    assert done.returncode == status, done.stdout + done.stderr
    assert status == 0 or "--force" in flags or not list(folder.glob("out/init_*"))
    return done.stdout + done.stderr


def written(folder):
    return datasets.load_dataset_config("mine", folder=folder / "out")


def members(splits):
    return set(splits.train_ids("trall", "c1")), set(splits.val_ids("trall", "c1")), set(splits.test)


def test_sessions_are_one_patient(tmp_path):
    names = packed(f"sub-{index:02d}_ses-{session}_T1w" for index in range(5) for session in (1, 2))
    write(tmp_path, names, labels=names)
    assert "10 volumes of 5 labelled and 0 other patients" in add(tmp_path)
    dataset = written(tmp_path)
    assert set.union(*members(dataset.splits)) == {f"sub-{index:02d}" for index in range(5)}
    assert len(find_readable(get_reader(dataset), dataset.splits.test, ("",), with_label=True)) == 2


def test_other_visits_are_asked_about_and_either_answer_works(tmp_path):
    names = packed(f"{name}_2019030{visit}" for name in NAMES for visit in (1, 2))
    write(tmp_path, names, labels=names)
    text = add(tmp_path, status=1)
    assert "p0: p0_20190301, p0_20190302" in text
    for flag, count in zip(re.findall(r"--patient_pattern='(.*)'", text), (5, 10), strict=True):
        assert f"10 volumes of {count} labelled" in add(tmp_path, f"--patient_pattern={flag}", "--force")
        assert sum(map(len, members(written(tmp_path).splits))) == count


def test_four_digit_names_are_volumes(tmp_path):
    names = packed(f"img_{index:04d}" for index in range(1, 9))
    write(tmp_path, names, labels=names[:5])
    assert "8 volumes of 5 labelled and 3 other patients" in add(tmp_path)
    splits = written(tmp_path).splits
    assert set(splits.train_ids("unlabeled", "c1")) == members(splits)[0] | {"img_0006", "img_0007", "img_0008"}


def test_channels_are_counted(tmp_path):
    write(tmp_path, packed(f"p{index}_{channel:04d}" for index in range(3) for channel in (0, 1)))
    text = add(tmp_path, "--images_only", "--image_channel=1")
    assert (
        "3 volumes of 0 labelled and 3 other" in text and "6 files are the channels of 3 volumes; channel _0001" in text
    )
    assert get_reader(written(tmp_path)).cases()[0].image_path.name == "p0_0001.nii.gz"


@pytest.mark.parametrize("labelled", [4, 2])
def test_official_test_images(tmp_path, labelled):
    """Labelled ones are the test list and stand in no other; the others pretrain."""
    for index in range(8):
        part = "Tr" if index < 4 else "Ts"
        save(tmp_path / f"images{part}" / f"c{index}_0000.nii.gz", image(index))
        if index < 4 + labelled:
            save(tmp_path / f"labels{part}" / f"c{index}.nii.gz", label(index))
    info = {"channel_names": {"0": "T1"}, "labels": {"background": 0, "a": 1, "b": 2, "c": 3}}
    (tmp_path / "dataset.json").write_text(json.dumps(info), encoding="utf-8-sig")
    assert "Leave out --test=1" in add(tmp_path, "--test=1", raw=True, status=1)
    assert f"imagesTs/ are the test list: {labelled} patients" in add(tmp_path, raw=True)
    splits = written(tmp_path).splits
    train, val, test = members(splits)
    assert train | val == {"c0", "c1", "c2", "c3"} and test == {f"c{index}" for index in range(4, 4 + labelled)}
    assert set(splits.train_ids("unlabeled", "c1")) == train | {f"c{index}" for index in range(4 + labelled, 8)}


def test_one_labelled_visit_per_patient(tmp_path, monkeypatch, caplog):
    """Labelled volumes train, the others of training patients pretrain, all that is left out is named."""
    write(
        tmp_path,
        packed(f"{name}_t{visit}" for name in NAMES for visit in (1, 2)),
        labels=packed(f"{n}_t1" for n in NAMES),
    )
    text = add(tmp_path)
    dataset = written(tmp_path)
    train, val, test = members(dataset.splits)
    for words, ids in (("for pretraining only", train), ("left out", val | test)):
        names = ", ".join(sorted(f"{name}_t2" for name in ids))
        assert (
            f"{plural(len(ids), 'volume')} {words}, since not all of their patients' volumes have labels: {names}."
            in text
        )
    reader = get_reader(dataset)
    for ids, with_label, count in ((train, True, 3), (test, True, 1), (train, False, 6)):
        cases = find_readable(reader, sorted(ids), ("",), with_label=with_label)
        assert len(cases) == count and all(case.label_path or not with_label for case in cases)
    assert "Left out beside labelled volumes of their patients, having no label: p" in caplog.text
    monkeypatch.setenv("FEWSLICE_EXPERIMENTS", str(tmp_path / "out"))
    assert running.run("verify_dataset", "--dataset=mine").returncode == 0
    for stage, flags in ((Baseline, ["--no_of_tr_imgs=tr1"]), (GlobalPretraining, ["--bt_size=4"])):
        args, config = read_from(stage, ["--dataset=mine", *flags])
        checks.check(args, config)


def test_labels_that_show_too_little_are_noted(tmp_path):
    """One empty label, one without the second structure, and volumes whose names count as one patient."""
    write(tmp_path, packed(NAMES))
    for seed, name in enumerate(NAMES):
        codes = np.minimum(label(seed), {"p1": 0, "p3": 1}.get(name, 2)).astype(np.uint8)
        save(tmp_path / "labels" / f"{name}.nii.gz", codes)
    text = add(tmp_path, "--struct_names=liver,cyst")
    assert "Note: p1: the label is empty." in text and "Note: p3: the label has no cyst." in text
    for path in sorted(tmp_path.glob("*s/p*.nii.gz")):
        path.rename(path.with_name(path.name.replace("p", "liver_t")))
    text = add(tmp_path, "--force", status=1)
    assert "1 labelled patient (liver) cannot be split" in text and "another --patient_pattern" in text


def test_twins_among_the_names_of_dataset_json(tmp_path):
    for folder in ("imagesTr", "labelsTr"):
        save(tmp_path / folder / "a.nii.gz", label())
    info = tmp_path / "dataset.json"
    info.write_text(json.dumps({"labels": {"0": "background", "1": "x", "2": "x"}}))
    text = add(tmp_path, raw=True, status=1)
    assert f"{info}\n" in text and "different names" in text and "--struct_names" in text and "init_mine" not in text


def test_visits_in_lists_written_by_hand(tmp_path, monkeypatch, caplog):
    """A note of verify_dataset and a warning when a training starts."""
    names = packed(f"{name}_v{visit}" for name in NAMES for visit in (1, 2))
    write(tmp_path, names, labels=names)
    add(tmp_path, "--patient_pattern=(.+)")
    init = tmp_path / "out" / "init_mine.py"
    init.write_text(re.sub("patient_pattern = .*", "", init.read_text()))
    monkeypatch.setenv("FEWSLICE_EXPERIMENTS", str(tmp_path / "out"))
    assert "these names may be one patient" in running.run("verify_dataset", "--dataset=mine").stdout
    for _ in range(2):
        checks.check(*read_from(Baseline, ["--dataset=mine", "--no_of_tr_imgs=trall"]))
    assert "mine: these names may be one patient" in caplog.text and "test: p" in caplog.text
    assert len({record.message for record in caplog.records}) == len(caplog.records), "each note is logged once"


def test_acdc_with_labels_of_one_phase(tmp_path):
    """The labelled phase trains, both pretrain."""
    for patient, frame in ((f"{index:03d}", frame) for index in range(1, 5) for frame in (1, 9)):
        stem = tmp_path / f"patient{patient}" / f"patient{patient}_frame{frame:02d}"
        save(stem.with_name(f"{stem.name}.nii.gz"), image(int(patient) + frame))
        if frame == 1:
            save(stem.with_name(f"{stem.name}_gt.nii.gz"), label(int(patient)))
    text = add(tmp_path, raw=True)
    assert "8 volumes of 4 labelled and 0 other patients" in text and "1 volumes" not in text
    assert written(tmp_path).phases == ("ED",) and written(tmp_path).unlabeled_phases == ("ED", "ES")


def test_capital_endings_other_formats_and_folders_beside(tmp_path):
    """Capitals are read; what is not read is named."""
    names = [*packed(NAMES[:3]), "p3.NII.GZ", "p4.Nii.Gz"]
    write(tmp_path, names, labels=[name.lower() if name[1] == "3" else name for name in names])
    for name in ("images/q.png", "images/q.hdr", "labels/q.png"):
        (tmp_path / name).write_text("no scan")
    save(tmp_path / "images_test" / "p9.nii.gz", image(9))
    text = add(tmp_path)
    assert "5 volumes of 5 labelled" in text and "1 .hdr, 1 .png (q.hdr, q.png)" in text
    assert "labels/: passed over: 1 .png" in text and "images_test/: 1 scans" in text
    assert len(get_reader(written(tmp_path)).cases()) == 5


def test_name_that_is_no_utf8(tmp_path):
    write(tmp_path, packed(NAMES), labels=packed(NAMES))
    os.rename(tmp_path / "images" / "p2.nii.gz", os.fsencode(tmp_path / "images") + b"/M\xfcller.nii.gz")
    text = add(tmp_path, status=1)
    assert r"b'M\xfcller.nii.gz'" in text and "Rename" in text and text.isascii()


@pytest.mark.parametrize("place", ["images", "labels"])
def test_dangling_link(tmp_path, place):
    write(tmp_path, packed(NAMES), labels=packed(NAMES))
    (tmp_path / place / "p2.nii.gz").unlink()
    (tmp_path / place / "p2.nii.gz").symlink_to("/nonexistent/annex/key")
    text = add(tmp_path, status=1)
    assert "a link to /nonexistent/annex/key, which is not there" in text and "git annex get" in text


@pytest.mark.parametrize(
    "code, flags, words",
    [
        (255, [], "values 0, 255, with gaps. Translate them with --label_map=255:1"),
        (300, [], "give every code a class: --label_map=205:1,420:2 for add_dataset.py"),
        (1, ["--struct_names=a,a"], "--struct_names: `struct_name` must be a tuple of different names"),
        (1, ["--struct_names=a,"], "--struct_names: `struct_name` must be"),
        (1, ["--num_classes=300"], "--num_classes: `num_classes` must be"),
        (1, ["--label_map=1:1,1:2"], "--label_map: `label_map` must be"),
        (1, ["--label_map=1:300"], "--label_map: `label_map` must lead to labels 0 to 254"),
    ],
)
def test_remedies_name_flags(tmp_path, code, flags, words):
    """Never an init file that does not exist yet."""
    write(tmp_path, packed(NAMES), labels=packed(NAMES), code=1)
    for name in packed(NAMES):
        save(tmp_path / "labels" / name, (label(1) > 1).astype(np.int16) * code)
    text = add(tmp_path, *flags, status=1)
    assert words in text and "init_" not in text and "init file" not in text


@pytest.mark.parametrize("content", [b'{"labels": {"0": "back', b"[]", b"\xff\xfe{", b"[" * 5000])
def test_damaged_dataset_json_is_to_be_restored(tmp_path, content):
    save(tmp_path / "imagesTr" / "a.nii.gz", image())
    save(tmp_path / "labelsTr" / "a.nii.gz", label())
    (tmp_path / "dataset.json").write_bytes(content)
    text = add(tmp_path, raw=True, status=1)
    assert "dataset.json\n" in text and "Restore the file" in text and "elete" not in text


@pytest.fixture
def small(tmp_path):
    write(tmp_path, packed(NAMES), labels=packed(NAMES))
    return tmp_path


@pytest.mark.parametrize("flags", [(), ("--force",)], ids=["new", "again"])
@pytest.mark.parametrize("last", ["data_cfg_mine.py", "init_mine.py"])
def test_a_kill_between_the_files(small, monkeypatch, last, flags):
    """What stops after `last` was replaced leaves no pair of two origins, and the same command finishes it."""
    if flags:
        add(small, "--seed=5")
    replace = os.replace

    def killed(source, target):
        replace(source, target)
        if target == small / "out" / last:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(files.os, "replace", killed)
        add(small, *flags)
    assert (small / "out" / "init_mine.py").exists() == (last == "init_mine.py")
    (small / "out" / ".init_mine.py.abc.tmp.py").write_text("of a killed process")
    add(small, *flags)
    add(small, *flags)  # whose kill may have come after everything was written
    lists = (small / "out" / "data_cfg_mine.py").read_text()
    add(small, "--force")
    assert (small / "out" / "data_cfg_mine.py").read_text() == lists and "seed 0" in lists
    kept = ["data_cfg_mine.before.txt"] * bool(flags)  # the lists of seed 5
    assert sorted(path.name for path in (small / "out").iterdir()) == [*kept, "data_cfg_mine.py", "init_mine.py"]


def test_a_full_disk_keeps_the_old_pair(small, monkeypatch):
    add(small, "--seed=5")
    before = {path.name: path.read_bytes() for path in (small / "out").iterdir()}

    write_text = pathlib.Path.write_text

    def full(path, text, **options):
        if path.name.startswith(".init_") and path.parent == small / "out":
            raise OSError(28, "No space left on device")
        return write_text(path, text, **options)

    with monkeypatch.context() as patch:
        patch.setattr(pathlib.Path, "write_text", full)
        assert "Free some space" in add(small, "--force", status=1)
    assert {name: (small / "out" / name).read_bytes() for name in before} == before


def test_a_file_of_somebody_else_is_kept(small):
    (small / "out").mkdir()
    (small / "out" / "data_cfg_mine.py").write_text("mine = 1")
    assert "data_cfg_mine.py exist already" in add(small, status=1)
    assert (small / "out" / "data_cfg_mine.py").read_text() == "mine = 1"


@pytest.mark.parametrize("name, words", [("init_a.py", "--output_dir, FEWSLICE_EXP"), ("config.json", "--runs_dir")])
def test_advice_for_a_folder_that_cannot_be_written(tmp_path, monkeypatch, name, words):
    def refused(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(files.tempfile, "mkstemp", refused)
    with pytest.raises(FewSliceError, match=rf"choose another one \({words}"):
        files.write_text(tmp_path / name, "")
