"""The rules of the house that a machine can check: who imports whom, and what nobody may write.

Nothing is imported here; the files are parsed. A rule that a file must break is listed with the reason.
"""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("experiment_init", "fewslice", "losses", "models", "scripts", "train_model", "benchmarks", "tests")
SKIPPED = {".venv", "build", "dist", "data_root", "runs", "demo_output", "__pycache__"}
BACKENDS = {"tensorflow", "jax", "torch"}
TOP = {"train_model", "scripts", "benchmarks", "tests"}
SCIENCE = {
    "numpy",
    "scipy",
    "skimage",
    "sklearn",
    "nibabel",
    "SimpleITK",
    "h5py",
    "matplotlib",
    "absl",
    "yaml",
    "pydantic",
    "pydantic_core",
    "annotated_types",
    "typing_extensions",
    "pandas",
    "jinja2",
    "rich",
}
SCIENCE |= {"PIL"}  # comes with matplotlib

# Room -> the rooms that its files may import. `settings` never asks Keras, so that `--help` answers at once.
_BELOW_DATA = ("core", "settings", "augment")
_BELOW_STAGES = (*_BELOW_DATA, "data", "evaluate", "active", "report", "train", "refine", "learner", "export")
ROOMS = {
    "core": (),
    "settings": ("core",),
    "augment": ("core", "settings"),
    "data": _BELOW_DATA,
    "evaluate": (*_BELOW_DATA, "data"),
    "active": (*_BELOW_DATA, "data", "evaluate"),
    "report": (*_BELOW_DATA, "data", "evaluate"),
    "train": (*_BELOW_DATA, "data", "evaluate"),
    "refine": (*_BELOW_DATA, "data", "evaluate", "train"),
    "learner": (*_BELOW_DATA, "data", "evaluate", "active", "train"),
    "export": (*_BELOW_DATA, "data", "train"),
    "stages": _BELOW_STAGES,
    "api": _BELOW_STAGES,
}
NO_NETWORK = ("core", "settings", "augment", "data", "evaluate", "report", "active")

# File or folder whose functions may import our modules, and why.
LATE = {
    "fewslice/learner/kinds/": "names are known without Keras",
    "fewslice/learner/networks/": "options are known without Keras",
    "fewslice/learner/vaal/__init__.py": "options are known without Keras",
    "fewslice/stages/__init__.py": "flags are read before readers are imported",
    "fewslice/stages/export.py": "wrong flags are told before Keras is imported",
    "fewslice/stages/predict.py": "wrong flags are told before Keras is imported",
    "fewslice/stages/active.py": "wrong settings are told before Keras is imported",
    "fewslice/stages/histology.py": "checks and finished studies need no Keras",
    "fewslice/stages/select_slices.py": "wrong flags are told before Keras is imported",
    "fewslice/report/figures/native.py": "a report without pictures needs no nibabel",
}

# File -> further modules that it may import, and why.
ALLOWED = {
    "models/layers.py": ({"tensorflow"}, "the fused normalisation kernel has no keras.ops counterpart"),
    "fewslice/core/backend.py": (
        {"tensorflow", "jax", "keras"},
        "devices, threads, compilation and determinism are the backend's own affair",
    ),
    "fewslice/settings/declare.py": ({"pydantic_core"}, "imported when pydantic meets a rule of ours, not before"),
    "fewslice/data/io/nifti.py": ({"isal"}, "an optional extra that reads .nii.gz faster"),
    "fewslice/stages/study.py": ({"submitit"}, "an optional extra that submits jobs to a cluster"),
    "fewslice/data/batches/steps.py": ({"keras"}, "a keras.utils.PyDataset; knows no network"),
    "fewslice/export/runner.py": ({"onnxruntime"}, "a program of its own, copied to others, who may have no Keras"),
    "fewslice/train/callbacks.py": ({"tensorboard"}, "an optional extra, imported where --tensorboard asks for it"),
}


PRINTING = {"fewslice/core/app.py", "fewslice/export/runner.py"}  # programs


def sources(*folders: str) -> list[Path]:
    found = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    return [path for path in found if not SKIPPED & set(path.relative_to(ROOT).parts)]


def ids(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


CODE = sources(*FOLDERS)
LIBRARY = [path for path in CODE if not ids(path).startswith("tests/")]


@functools.cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@functools.cache
def nodes(path: Path) -> list[ast.AST]:
    return list(ast.walk(tree(path)))


def called(node: ast.Call) -> str:
    """Returns the called function as it is written, "np.random.seed"; "" for what is no name."""
    parts, function = [], node.func
    while isinstance(function, ast.Attribute):
        parts, function = [function.attr, *parts], function.value
    return ".".join([function.id, *parts]) if isinstance(function, ast.Name) else ""


@functools.cache
def imports(path: Path) -> dict[str, int]:
    """Returns module -> line of every import, in functions too; `from a import b` counts as a and a.b."""
    found: dict[str, int] = {}
    package = ids(path).removesuffix(".py").split("/")
    for node in nodes(path):
        if isinstance(node, ast.Import):
            found |= {alias.name: node.lineno for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: -node.level]) if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            found |= {module: node.lineno} | {f"{module}.{alias.name}": node.lineno for alias in node.names}
    return found


def tops(path: Path) -> dict[str, int]:
    return {name.split(".")[0]: line for name, line in imports(path).items()}


def foreign(path: Path, allowed: set[str]) -> list[str]:
    """Returns "module (line)" of what a file imports beside the standard library and `allowed`."""
    extra = ALLOWED.get(ids(path), (set(), ""))[0]
    good = set(sys.stdlib_module_names) | allowed | extra
    return [f"{name} (line {line})" for name, line in tops(path).items() if name not in good]


def for_each(paths: list[Path]) -> Callable:
    """Makes a test of one file one of all the files, which tells every file that breaks its rule.

    One test for each file and rule would be two thousand, and more time to count them than to run them.
    """

    def decorate(test: Callable[[Path], None]) -> Callable[[], None]:
        def test_all() -> None:
            broken = []
            for path in paths:
                try:
                    test(path)
                except AssertionError as error:
                    broken.append(f"{ids(path)}: {error}")
            if broken:
                pytest.fail("\n".join(broken), pytrace=False)

        return test_all

    return decorate


@for_each(sources("experiment_init"))
def test_settings_need_the_standard_library_only(path):
    assert foreign(path, {"experiment_init"}) == []


@for_each(sources("models"))
def test_models_import_keras_and_numpy(path):
    assert foreign(path, {"keras", "numpy", "models"}) == []


@for_each(sources("losses"))
def test_losses_import_keras_numpy_and_the_registry(path):
    assert foreign(path, {"keras", "numpy", "losses", "fewslice"}) == []
    used = [name for name in imports(path) if name.startswith("fewslice")]
    assert [name for name in used if name != "fewslice" and not name.startswith("fewslice.core.registry")] == []


@for_each([path for path in sources("fewslice") if path.parent != ROOT / "fewslice"])
def test_rooms_import_only_rooms_below(path):
    room = ids(path).split("/")[1]
    found = {name.split(".")[1] for name in imports(path) if name.startswith("fewslice.")} - {room}
    assert sorted(found - set(ROOMS[room])) == []


@for_each([path for path in LIBRARY if ids(path).startswith(("fewslice/", "models/", "losses/"))])
def test_our_modules_are_imported_at_the_top(path):
    functions = [node for node in nodes(path) if isinstance(node, ast.FunctionDef)]
    inside = [node for one in functions for node in ast.walk(one) if isinstance(node, ast.ImportFrom | ast.Import)]
    modules = [getattr(node, "module", None) or node.names[0].name for node in inside]
    ours = sorted(name for name in modules if name.split(".")[0] in ("fewslice", "models", "losses"))
    assert not ours or any(ids(path).startswith(place) for place in LATE), ours


def test_late_imports_are_still_needed():
    for place, reason in LATE.items():
        inside = [path for path in LIBRARY if ids(path).startswith(place)]
        assert reason and any(
            re.search(r"^ +(from|import) (fewslice|models|losses)", p.read_text(), re.M) for p in inside
        )


def test_every_room_is_in_the_table():
    found = {path.name for path in (ROOT / "fewslice").iterdir() if path.is_dir() and path.name not in SKIPPED}
    assert found == set(ROOMS)
    assert [path.name for path in sorted((ROOT / "fewslice").glob("*.py"))] == ["__init__.py"]


def test_no_import_goes_round_in_a_circle():
    """Modules are nodes, imports of our own modules arrows, also those inside functions."""
    name_of = {ids(path).removesuffix(".py").removesuffix("/__init__").replace("/", "."): path for path in LIBRARY}
    arrows = {name: sorted(set(imports(path)) & set(name_of) - {name}) for name, path in name_of.items()}
    # A package's own modules import the package by the way; that is no circle of ours.
    arrows = {name: [other for other in others if not name.startswith(f"{other}.")] for name, others in arrows.items()}
    state: dict[str, int] = {}

    def visit(name: str, trail: tuple[str, ...]) -> None:
        if state.get(name) == 2:
            return
        if name in trail:
            pytest.fail(" -> ".join((*trail[trail.index(name) :], name)), pytrace=False)
        for other in arrows[name]:
            visit(other, (*trail, name))
        state[name] = 2

    for name in name_of:
        visit(name, ())


@for_each(sources(*(f"fewslice/{room}" for room in NO_NETWORK)))
def test_these_rooms_know_no_network(path):
    assert foreign(path, SCIENCE | {"fewslice"}) == []


@for_each(sources("fewslice"))
def test_library_is_written_for_every_backend(path):
    assert foreign(path, SCIENCE | {"fewslice", "keras", "models", "losses"}) == []


@for_each(sources("experiment_init", "fewslice", "losses", "models"))
def test_imports_point_downwards(path):
    assert sorted(TOP & set(tops(path))) == []


@for_each([p for p in LIBRARY if not ids(p).startswith("experiment_init/")])
def test_settings_are_loaded_by_the_configuration_only(path):
    assert "experiment_init" not in tops(path)


@pytest.mark.parametrize(
    "name",
    ["declare", "flags", "stage_flags", "al_flags", "group_contrastive", "datasets", "splits", "dataset_files"],
)
def test_what_answers_help_imports_nothing_heavy(name):
    path = ROOT / "fewslice" / "settings" / f"{name}.py"
    assert foreign(path, {"absl", "annotated_types", "fewslice"}) == []


@for_each(CODE)
def test_nobody_writes(path):
    is_test = ids(path).startswith("tests/")
    found = []
    for node in nodes(path):
        where = f"line {getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.ExceptHandler) and node.type is None:
            found.append(f"bare except, {where}")
        if isinstance(node, ast.Assert) and not is_test:
            found.append(f"assert, {where}")
        if isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names):
            found.append(f"import *, {where}")
        if (
            isinstance(node, ast.keyword)
            and node.arg == "allow_pickle"
            and getattr(node.value, "value", 1) is not False
        ):
            found.append(f"allow_pickle, {where}")
        if isinstance(node, ast.Call) and not is_test:
            found += [f"{text}, {where}" for text in forbidden_calls(node)]
    modules = tops(path)
    found += [
        f"{name}, line {modules[name]}"
        for name in ("pickle", "dill", "joblib", "random")
        if name in modules and not is_test
    ]
    assert found == []


GENERATORS = {"default_rng", "Generator", "SeedSequence", "PCG64", "Philox", "BitGenerator"}


def forbidden_calls(node: ast.Call) -> list[str]:
    """Returns calls of the global generators, of a skip_mismatch load and of sys.path."""
    name = called(node)
    found = []
    match = re.fullmatch(r"(?:np|numpy)\.random\.(\w+)", name)
    if match and match[1] not in GENERATORS:
        found.append(name)
    if name.startswith("sys.path."):
        found.append(name)
    if any(keyword.arg == "skip_mismatch" and getattr(keyword.value, "value", 1) for keyword in node.keywords):
        found.append("skip_mismatch")
    return found


@for_each([p for p in sources("fewslice", "models", "losses") if ids(p) not in PRINTING])
def test_library_does_not_print(path):
    calls = [node for node in nodes(path) if isinstance(node, ast.Call)]
    assert [f"line {call.lineno}" for call in calls if called(call) == "print"] == []


@for_each(LIBRARY)
def test_every_module_says_what_it_is_for(path):
    assert ast.get_docstring(tree(path)) or not path.read_text(encoding="utf-8").strip()


def tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    paths = [ROOT / line for line in listed.stdout.splitlines()] if listed.returncode == 0 else CODE
    return [path for path in paths if path.is_file() and path.stat().st_size < 1 << 20]


def test_no_file_names_a_place_on_one_machine():
    pattern = re.compile(r"(?<![\w.:/-])/(?:work|home|root|Users|mnt|scratch)/\w")
    found = []
    for path in tracked():
        text = path.read_bytes().decode("utf-8", errors="ignore")
        found += [f"{ids(path)}:{n}" for n, line in enumerate(text.splitlines(), 1) if pattern.search(line)]
    assert found == []


def test_exceptions_are_still_needed():
    for name, (modules, reason) in ALLOWED.items():
        assert reason and modules <= set(tops(ROOT / name)), name
