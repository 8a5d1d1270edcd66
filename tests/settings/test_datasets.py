"""Dataset settings and split tables.

Expected values: sizes, list lengths, overlaps and corrections are those of the published configurations
(Chaitanya et al. 2020 and 2021), counted by hand from the tables; the rest follows from the small files that
the tests write.
"""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import pytest

from fewslice.core.errors import ConfigError
from fewslice.core.files import digest
from fewslice.settings import datasets

PUBLISHED_SLICES = ["acdc_wsl4mis", "chaos_ct", "chaos_mri", "davis", "davis2", "lvsc", "mscmr"]  # all lists: al
SHIPPED = ["acdc", "acdc_h5", "acdc_ssl4mis", "mmwhs", "phantom", "prostate_md", *PUBLISHED_SLICES]

INIT = '''"""A dataset."""
layout = "paired_folders"
data_path_tr = "mine"
how_to_get = "Ask me."
img_size_x = 64
img_size_y = 96
target_resolution = (1, 1.5)
num_classes = 3
struct_name = ("one", "two")
unlabeled_split = "pool"
'''
SPLITS = """train = {
    "tr1": {
        "c1": ["a"],
        "c2": ["b"],
    },
    "pool": {"*": ["a", "b", "v", "u"]},
}
val = {"tr1": {"*": ["v"]}}
test = ["t"]
unlabeled = ("pool",)
"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Returns a function that writes init_mine.py and data_cfg_mine.py, by default two good ones."""
    monkeypatch.setenv("FEWSLICE_EXPERIMENTS", str(tmp_path))

    def write_files(init=INIT, splits=SPLITS):
        (tmp_path / "init_mine.py").write_text(init)
        if splits is not None:
            (tmp_path / "data_cfg_mine.py").write_text(splits)

    write_files()
    return write_files


def problem(overrides=None):
    with pytest.raises(ConfigError) as caught:
        datasets.load_dataset_config("mine", overrides)
    return str(caught.value)


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_datasets_load_without_a_problem(name):
    dataset = datasets.load_dataset_config(name)
    assert dataset.name == name and name in datasets.dataset_names()
    assert dataset.unlabeled_split in dataset.splits.train
    for key in dataset.splits.labelled_keys():
        for comb in dataset.splits.train[key]:
            train, val = datasets.check_labeled_split(dataset, key, "c1" if comb == "*" else comb)
            assert train and val
    for key in dataset.splits.unlabeled:
        datasets.check_pretraining_split(dataset, key, "c1")


@pytest.mark.parametrize(
    "name, size, resolution, structures, weights, lengths, tests",
    [
        ("acdc", (192, 192), (1.36719, 1.36719), ("rv", "myo", "lv"), (0.1, 0.3, 0.3, 0.3),
         {"tr1": (5, 1), "tr2": (5, 2), "tr8": (3, 8), "tr52": (1, 52), "trall": (1, 77), "al": (1, 64)}, 20),
        ("acdc_h5", (192, 192), (1.36719, 1.36719), ("rv", "myo", "lv"), (0.1, 0.3, 0.3, 0.3),
         {"tr1": (5, 1), "tr2": (5, 2), "tr8": (1, 8), "tr15": (1, 15), "tr52": (1, 11), "al": (1, 13)}, 5),
        ("prostate_md", (192, 192), (0.625, 0.625), ("pz", "cz"), (0.1, 0.45, 0.45),
         {"tr1": (5, 1), "tr2": (5, 2), "tr8": (3, 8), "tr10": (3, 10), "tr22": (1, 17), "trall": (1, 15)}, 15),
        ("mmwhs", (160, 160), (1.5, 1.5), ("myo", "la", "lv", "ra", "rv", "aa", "pa"), (0.09,) + (0.13,) * 7,
         {"tr1": (5, 1), "tr2": (4, 2), "tr8": (3, 8), "tr10": (1, 10)}, 10),
        ("phantom", (96, 96), (2.0, 2.0), ("rv", "myo", "lv"), (0.1, 0.3, 0.3, 0.3),
         {"tr1": (3, 1), "tr2": (2, 2), "tr8": (1, 8), "tr24": (1, 24), "trall": (1, 28), "al": (1, 24)}, 10),
    ],
)  # fmt: skip
def test_published_settings_and_lists(name, size, resolution, structures, weights, lengths, tests):
    dataset = datasets.load_dataset_config(name)
    assert dataset.size == size and dataset.target_resolution == resolution
    assert dataset.struct_name == structures and dataset.class_weights == weights
    assert dataset.num_classes == len(structures) + 1
    assert (dataset.mtask_bs, dataset.batch_size_ft, dataset.val_step_update) == (20, 10, 50)
    train = dataset.splits.train
    found = {key: (len(combs), {len(ids) for ids in combs.values()}) for key, combs in train.items()}
    assert found == {key: (count, {length}) for key, (count, length) in lengths.items()}
    assert len(dataset.splits.test_ids()) == tests
    if name == "mmwhs":
        assert dict(dataset.label_map) == {205: 1, 420: 2, 500: 3, 550: 4, 600: 5, 820: 6, 850: 7}


def test_corrections_of_the_published_lists():
    acdc, prostate = (datasets.load_dataset_config(name).splits for name in ("acdc", "prostate_md"))
    assert "011" not in acdc.train_ids("trall", "c3") and "011" in acdc.val_ids("trall", "c3")
    assert prostate.train_ids("trall", "c1")[:3] == ("000", "001", "002")
    assert acdc.train_ids("tr52", "c1") == acdc.train_ids("tr52", "c5")


@pytest.mark.parametrize(
    "name, key, shared",
    [
        ("acdc", "tr52", ("072",)),
        ("acdc_h5", "tr15", ("011", "031", "071", "072")),
        ("acdc_h5", "tr52", ("072",)),
        ("prostate_md", "tr22", ("013", "014", "017", "020", "025", "028")),
        ("phantom", "tr24", ()),
    ],
)
def test_pretraining_split_reports_validation_patients(name, key, shared):
    assert datasets.check_pretraining_split(datasets.load_dataset_config(name), key, "c1") == shared


def test_pretraining_split_with_test_patients_is_refused():
    dataset = datasets.load_dataset_config("phantom")
    leaky = dataclasses.replace(dataset.splits, test=("024", "031"))
    with pytest.raises(ConfigError, match="contains the test patients 024"):
        datasets.check_pretraining_split(dataclasses.replace(dataset, splits=leaky), "tr24", "c1")


@pytest.mark.parametrize(
    "key, comb, message",
    [
        ("tr3", "c1", "Unknown split --no_of_tr_imgs 'tr3'. Did you mean 'tr"),
        ("tr1", "c6", "Unknown combination --comb_tr_imgs of tr1 'c6'. Did you mean 'c"),
        ("tr22", "c1", "013, 014, 020, 028; this list serves pretraining without labels only"),
    ],
)
def test_wrong_labeled_split(key, comb, message):
    with pytest.raises(ConfigError) as caught:
        datasets.check_labeled_split(datasets.load_dataset_config("prostate_md"), key, comb)
    assert message in str(caught.value)


def test_defaults_and_types(write):
    dataset = datasets.load_dataset_config("mine")
    assert dataset.target_resolution == (1.0, 1.5) and isinstance(dataset.target_resolution[0], float)
    assert dataset.class_weights == pytest.approx((1 / 3,) * 3)
    assert dataset.data_path_tr_cropped == "cropped/mine"
    assert dataset.phases == dataset.unlabeled_phases == ("",)
    assert datasets.dataset_names() == ["mine"]
    with pytest.raises(dataclasses.FrozenInstanceError):
        dataset.mtask_bs = 3
    with pytest.raises(TypeError):
        dataset.splits.train["tr9"] = {}


@pytest.mark.parametrize(
    "name, text, value",
    [
        ("target_resolution", "1.5, 2", (1.5, 2.0)),
        ("struct_name", "left,right", ("left", "right")),
        ("label_map", "5:1,9:2", ((5, 1), (9, 2))),
        ("label_map", "", ()),
        ("anti_aliasing", "off", "off"),
    ],
)
def test_overrides_take_the_type_of_the_attribute(write, name, text, value):
    assert getattr(datasets.load_dataset_config("mine", {name: text}), name) == value


@pytest.mark.parametrize(
    "name, text, message",
    [
        ("img_size_x", "100", "`img_size_x` must be a positive multiple of 32"),
        ("img_size_x", "a", "expected a whole number"),
        ("target_resolution", "1,0", "`target_resolution` must be two positive numbers"),
        ("target_resolution", "1,nan", "`target_resolution` must be two positive numbers"),
        ("struct_name", "one", "`struct_name` must have num_classes - 1 = 2 names"),
        ("class_weights", "1,2", "`class_weights` must have num_classes = 3 numbers"),
        ("layout", "paired_folder", "Did you mean 'paired_folders'"),
        ("anti_aliasing", "of", "`anti_aliasing` must be one of default, off"),
        ("label_map", "7:1,8:3", "`label_map` must lead to labels 0 to 2"),
        ("label_map", "7", "code:label pairs"),
        ("percentiles", "99,1", "`percentiles` must be two rising numbers"),
        ("patient_pattern", "(", "`patient_pattern` must be a regular expression"),
        ("unlabeled_split", "poool", "Did you mean 'pool'"),
        ("img_size", "64", "Unknown attribute 'img_size'. Did you mean 'img_size_"),
    ],
)
def test_wrong_override(write, name, text, message):
    found = problem({name: text})
    assert message in found and f"--set {name}={text}" in found


def test_all_problems_at_once_with_their_lines(write):
    init = INIT.replace("img_size_x = 64", "img_size_x = 60").replace('layout = "paired_folders"', "layout = 3")
    write(init + "img_sizze = 3\n", SPLITS.replace('["t"]', '["t", ""]'))
    found = problem({"mtask_bs": "-1"})
    assert "has 5 problems" in found
    folder = datasets.dataset_files.experiments_folder().name
    for text in ("init_mine.py:2: `layout`", "init_mine.py:5: `img_size_x`", "init_mine.py:11: Unknown attribute"):
        assert f"{folder}/{text}" in found
    assert "data_cfg_mine.py:9: `test`: an id is empty" in found and "--set mtask_bs=-1" in found


@pytest.mark.parametrize(
    "init, message",
    [
        ("x = (\n", "init_mine.py:1: Python cannot read this line"),
        ("import os\nx = os.missing\n", "init_mine.py:2: AttributeError"),
        ("y = 1 / 0\n", "init_mine.py:1: ZeroDivisionError"),
        ("raise SystemExit(3)\n", "init_mine.py:1: SystemExit"),
        ("import no_such_module\n", "init_mine.py:1: ModuleNotFoundError"),
        ("", "the attribute `layout` is missing"),
    ],
)
def test_broken_file_names_the_line(write, init, message):
    write(init)
    assert message in problem()


def test_missing_files(tmp_path, write):
    (tmp_path / "data_cfg_mine.py").unlink()
    assert "data_cfg_mine.py is missing" in problem()
    with pytest.raises(ConfigError, match="Unknown dataset 'minee'. Did you mean 'mine'?"):
        datasets.load_dataset_config("minee")


@pytest.mark.parametrize(
    "old, new, message",
    [
        ('["t"]', '["a", "t"]', "data_cfg_mine.py:3: `train['tr1']['c1']` and `test` share patients a"),
        ('["t"]', '["v"]', "`val['tr1']['*']` and `test` share patients v"),
        ('"c2": ["b"]', '"c2": ["v"]', "data_cfg_mine.py:4: `train['tr1']['c2']` and `val['tr1']['c2']` share"),
        ('"c2": ["b"]', '"c2": ["b", "b"]', "each id may be listed once. Twice or more: b"),
        ('"c2": ["b"]', '"c2": []', "`train['tr1']['c2']` is empty"),
        ('"c2": ["b"]', '"c2": [7]', "ids are strings, in quotes. Received: 7"),
        ('"c2": ["b"]', '"c2": "b"', "must be a list of patient ids. Received: 'b'"),
        ('"c2": ["b"]', '"c1": ["b"]', "data_cfg_mine.py:4: duplicate key 'c1'"),
        ('"c2": ["b"]', '"c2": ["b" "d"]', 'data_cfg_mine.py:4: a comma is missing between "b" and "d"'),
        ("val = {", "vall = {", "Unknown table 'vall'. Did you mean 'val'"),
        ('unlabeled = ("pool",)', 'unlabeled = ("pol",)', "Did you mean 'pool'"),
        ('unlabeled = ("pool",)', 'unlabeled = "pool"', "`unlabeled` must be a tuple of keys"),
    ],
)
def test_wrong_split_tables(write, old, new, message):
    assert old in SPLITS
    write(INIT, SPLITS.replace(old, new))
    assert message in problem()


def test_labeled_training_needs_a_validation_list(write):
    with pytest.raises(ConfigError, match="no validation list for pool"):
        datasets.check_labeled_split(datasets.load_dataset_config("mine"), "pool", "c1")


def test_own_helpers_and_old_names_are_left_alone(write):
    write("import math\n_side = 64\nbase_dir = 'x'\nfs = 3\n" + INIT.replace("= 64", "= _side"))
    assert datasets.load_dataset_config("mine").img_size_x == 64


def test_config_dict_is_plain_and_ignores_unused_lists(write):
    before = datasets.config_dict(datasets.load_dataset_config("mine"))
    write(INIT.replace("Ask me.", "Ask them."), SPLITS.replace('["b"]', '["d"]'))
    after = datasets.config_dict(datasets.load_dataset_config("mine"))
    assert digest(before) == digest(after)
    assert digest(datasets.config_dict(datasets.load_dataset_config("mine", {"img_size_x": "96"}))) != digest(after)


def test_data_root(monkeypatch, tmp_path):
    monkeypatch.setenv("FEWSLICE_DATA", str(tmp_path))
    assert datasets.data_root() == tmp_path
    monkeypatch.delenv("FEWSLICE_DATA")
    assert datasets.data_root() == datasets.dataset_files.checkout() / "data_root"
    roots = [datasets.load_dataset_config("acdc", data_root=root).data_root for root in (None, tmp_path / "a" / "..")]
    assert roots == [datasets.data_root(), tmp_path]


def test_layouts_are_those_that_readers_register():
    from fewslice.data.readers import READERS

    assert list(datasets.layouts()) == READERS.names()


@pytest.mark.parametrize("stem", ["p7_frame01", "p7_ED", "p7_t003", "p7"])
def test_default_patient_pattern(stem):
    assert datasets.patient_of(stem) == "p7" and datasets.patient_of(stem.replace("p7", "a_0012")) == "a_0012"


def test_import_is_light():
    code = (
        "import sys, fewslice.settings.flags, fewslice.core.app, fewslice.settings.datasets; "
        "heavy = {'keras', 'tensorflow', 'numpy', 'skimage', 'matplotlib'}; "
        "sys.exit(', '.join(sorted(heavy & set(sys.modules))) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_stretched_grid_needs_no_resolution(write):
    without = INIT.replace("target_resolution = (1, 1.5)\n", "")
    write(without)
    assert "the attribute `target_resolution` is missing" in problem()
    assert datasets.load_dataset_config("mine", {"grid": "stretch"}).target_resolution == ()
    write(without + 'grid = "stretch"\nintensity = "as_stored"\nscribbles = "simulated"\nnum_channels = 3\n')
    dataset = datasets.load_dataset_config("mine")
    assert (dataset.grid, dataset.intensity, dataset.scribbles, dataset.num_channels) == (
        "stretch", "as_stored", "simulated", 3,
    )  # fmt: skip
    write(INIT + 'grid = "stretched"\nintensity = "raw"\nscribbles = "drawn"\n')
    found = problem()
    assert "`grid` must be one of resample, stretch" in found and "Received: grid='stretched'" in found
    assert "`intensity` must be one of percentiles, as_stored" in found
    assert "`scribbles` must be one of file, simulated" in found


def test_digest_of_a_run_does_not_know_later_attributes_at_their_defaults(write):
    dataset = datasets.load_dataset_config("mine")
    known = datasets.config_dict(dataset)
    assert not {"grid", "intensity", "scribbles"} & set(known) and known["num_channels"] == 1
    assert datasets.config_dict(dataclasses.replace(dataset, scribbles="simulated")) == known
    assert datasets.config_dict(dataclasses.replace(dataset, grid="stretch")) == {**known, "grid": "stretch"}
    assert known.pop("label_resampling") == "area", "the default changed; earlier runs have the published rule"
    assert datasets.config_dict(datasets.load_dataset_config("mine", {"label_resampling": "nearest"})) == known
    assert datasets.load_dataset_config("mine", {"grid": "stretch"}).label_resampling == "nearest"


FAILS = """class E(Exception):
    def __str__(self):
        raise RuntimeError
    __repr__ = __len__ = __iter__ = __str__
"""


@pytest.mark.parametrize(
    "line, message",
    [
        ("unlabeled = (['pool'],)", "data_cfg_mine.py:11: `unlabeled` must be a tuple of keys, in quotes"),
        ("unlabeled = ({},)", "`unlabeled` must be a tuple of keys"),
        ("train['tr1'][1] = ['a']", "keys and combinations are texts, in quotes. Received: 1"),
        ("train = {None: {'c1': ['a']}}", "data_cfg_mine.py:11: `train`: keys and combinations are texts"),
        ("val = {2.5: {'c1': ['v']}}; unlabeled = ('pol',)", "Received: 2.5"),
        ("train['tr1'] = {}.keys()", "data_cfg_mine.py:1: `train` must hold texts, numbers, tuples"),
        ("test = {'t'}", "something of the type set"),
        ("test = []; test.append(test)", "holds more than 10 levels or 1000000 values, or itself"),
        ("test = ['t']\nfor _ in range(9): test = [test] * 10", "data_cfg_mine.py:11: `test`"),
        ("test = __import__('numpy').array([[1]])", "ids are strings, in quotes. Received: (1,)"),
        ("test = ['a\\udcff']", "`test` holds a text with characters that no file name has: 'a\\udcff'"),
        (f"{FAILS}test = [E()]", "something of the type E"),
        (
            f"{FAILS}class L(list): __iter__ = E.__iter__\ntest = L()",
            "`test` cannot be read: RuntimeError in something of the type",
        ),
    ],
)
def test_tables_of_any_objects_are_one_message(write, line, message):
    write(INIT, f"{SPLITS}{line}\n")
    assert message in problem()


@pytest.mark.parametrize(
    "line, message",
    [
        ("unlabeled_split = {'pool'}", "init_mine.py:11: `unlabeled_split` must hold texts"),
        ("patient_pattern = '(a{99999999999999999999})'", "`patient_pattern` must be a regular expression"),
        ("patient_pattern = '(' * 3000 + ')' * 3000", "`patient_pattern` must be a regular expression"),
        ("grid = __import__('numpy').zeros(3)", "`grid` must be one of"),
        ("phases = 10**5000", "init_mine.py:11: `phases` holds a whole number of more than 18 digits"),
        ("num_channels = -10**5000", "more than 18 digits"),
        ("struct_name = []; struct_name.append(struct_name)", "init_mine.py:11: `struct_name` holds more than 10"),
        ("label_map = {1: {2: None}}", "`label_map` must be"),
        ("class_weights = print", "something of the type builtin_function_or_method"),
        ("data_path_tr = 'a\\0b'", "characters that no file name has: 'a\\x00b'"),
        (f"{FAILS}raise E()", "init_mine.py:15: E: (no words)"),
        ("raise GeneratorExit", "init_mine.py:11: GeneratorExit"),
        ("globals()[3] = 1; layout = 2", "`layout`"),
    ],
)
def test_attributes_of_any_objects_are_one_message(write, line, message):
    write(f"{INIT}{line}\n")
    assert message in problem() and len(problem()) < 400


def test_one_fault_of_a_path_is_one_message_and_thousands_are_a_short_list(write):
    write(INIT + "data_path_tr = 'a\\ud800'\ndata_path_tr_cropped = 'mine'\n")
    assert "`data_path_tr` holds a text with" in problem() and "data_path_tr_cropped" not in problem()
    write(INIT, SPLITS + "test = list(range(9999))\n")
    assert "has 9999 problems:" in problem() and problem().endswith("- and 9949 more") and len(problem()) < 9000


def test_files_are_read_as_python_reads_them(tmp_path, write):
    write("# -*- coding: latin-1 -*-\n")
    (tmp_path / "init_mine.py").write_bytes(b"\xef\xbb\xbf" + INIT.encode())
    assert datasets.load_dataset_config("mine").img_size_x == 64
    (tmp_path / "init_mine.py").write_bytes(b"# -*- coding: latin-1 -*-\r\n" + INIT.encode() + b"how_to_get = '\xe4'\n")
    assert datasets.load_dataset_config("mine").how_to_get == "ä"
    write(INIT + "import numpy, pathlib\nimg_size_x = numpy.int64(32)\ndata_path_tr = pathlib.Path('scans')\n")
    dataset = datasets.load_dataset_config("mine")
    assert (type(dataset.img_size_x), dataset.data_path_tr) == (int, "scans")
    (tmp_path / "init_mine.py").write_bytes(b"x = 1\n# \xff\n")
    assert "init_mine.py" in problem()


@pytest.mark.parametrize(
    "path, words",
    [
        ("../x", "leads out of the data root"), ("a/../../x", "leads out of"), ("/elsewhere/x", "leads out of"),
        ("mine", "among the scans"), ("mine/p1", "among the scans"), ("./a/../mine/p1/", "among the scans"),
        (".", "among the scans"), ("~/x", "leads out of"),
    ],
)  # fmt: skip
def test_prepared_volumes_stay_below_the_data_root_and_beside_the_scans(write, path, words):
    assert words in problem({"data_path_tr_cropped": path})
    write(f"{INIT}data_path_tr_cropped = {path!r}\n")
    if path.startswith(("/", "~")):  # the file's author means it
        loaded = datasets.load_dataset_config("mine").data_path_tr_cropped
        assert loaded.startswith("/") and loaded.endswith("/x")
    else:
        assert f"init_mine.py:11: `data_path_tr_cropped` {'must not lie ' * (words[0] == 'a')}{words}" in problem()


def test_prepared_volumes_of_scans_at_the_data_root_lie_below_it(write, tmp_path):
    write(INIT.replace('"mine"', '"."'))
    assert datasets.load_dataset_config("mine", data_root=tmp_path).data_path_tr_cropped == "cropped/mine"
    beside = INIT.replace('"mine"', repr(str(tmp_path))) + "images_dir, labels_dir = 'images', 'labels'\n"
    beside += "data_path_tr_cropped = 'cropped/mine'\n"
    write(beside)  # the data root beside the folder of images
    assert datasets.load_dataset_config("mine", data_root=tmp_path / "root").data_path_tr_cropped == "cropped/mine"
    with pytest.raises(ConfigError, match=f"among the scans .{tmp_path / 'images'}.*own below the data root"):
        datasets.load_dataset_config("mine", data_root=tmp_path / "images" / "root")
    write(INIT.replace('"mine"', '"."'))
    full = {"data_path_tr_cropped": str(tmp_path / "mine_cropped")}
    assert datasets.load_dataset_config("mine", full, data_root=tmp_path)
