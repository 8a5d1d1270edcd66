"""Studies: which experiments a command asks for, and how they run."""

import sys

import pytest

from fewslice.core.errors import ConfigError, FewSliceError
from fewslice.settings.al_flags import StudyFlags
from fewslice.stages import study

# Stands in for an experiment: fails as --fail says, counts its calls, and names a run folder.
SCRIPT = """
import pathlib, sys
flags = dict(text.lstrip("-").split("=", 1) for text in sys.argv[1:])
place = pathlib.Path(flags["record"])
with open(place.with_suffix(".calls"), "a", encoding="utf-8") as file:
    file.write("x")
print("seed", flags["seed"])
if flags["seed"] == flags.get("fail"):
    sys.exit(3)
place.write_text(f"run of {flags['seed']}\\n", encoding="utf-8")
"""


@pytest.mark.parametrize("text, values", [("0-2,7", ["0", "1", "2", "7"]), ("mc, bald", ["mc", "bald"]), ("1", ["1"])])
def test_values(text, values):
    assert study.values_of(text) == values


@pytest.mark.parametrize("text", ["", "1,,2", "3-1", "0-999999", "1,1", "0-2,2"])
def test_values_that_are_none(text):
    with pytest.raises(ConfigError, match="lists"):
        study.values_of(text)


def test_combinations_are_all_of_them():
    found = study.combinations({"seed": ["0", "1"], "query.score": ["bald", "entropy"]})
    assert [tuple(one.values()) for one in found] == [("0", "bald"), ("0", "entropy"), ("1", "bald"), ("1", "entropy")]


@pytest.fixture
def reports(tmp_path, monkeypatch):
    (tmp_path / "script.py").write_text(SCRIPT, encoding="utf-8")
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "script.py")])
    found = []
    monkeypatch.setattr(
        study, "write_experiment_report", lambda runs, path, title: found.append((sorted(runs), path.name, title))
    )
    return found


@pytest.mark.parametrize("jobs", [1, 2])
def test_all_experiments_run_and_one_report_compares_them(tmp_path, reports, jobs):
    args = StudyFlags(runs_dir=str(tmp_path / "runs"), jobs=jobs)
    experiments = {f"seed-{seed}": [f"--seed={seed}"] for seed in range(3)}
    report = study.run_study("toy", "phantom", experiments, args)
    assert reports == [(["run of 0", "run of 1", "run of 2"], "report.html", "Study toy")]
    assert (report.parent / "seed-1.log").read_text(encoding="utf-8").strip() == "seed 1"
    assert report == study.run_study("toy", "phantom", experiments, args)  # each experiment resumes by itself
    assert (report.parent / "seed-1.calls").read_text(encoding="utf-8") == "xx"


def test_a_failed_experiment_is_named_and_the_others_are_reported(tmp_path, reports):
    args = StudyFlags(runs_dir=str(tmp_path / "runs"))
    experiments = {f"seed-{seed}": [f"--seed={seed}", "--fail=1"] for seed in range(3)}
    with pytest.raises(FewSliceError, match="1 of 3 experiments failed: seed-1"):
        study.run_study("toy", "phantom", experiments, args)
    assert reports[0][0] == ["run of 0", "run of 2"]


def test_jobs_of_a_cluster(tmp_path, reports):
    pytest.importorskip("submitit")
    args = StudyFlags(runs_dir=str(tmp_path / "runs"), cluster="local", cluster_options=("timeout_min=5",))
    study.run_study("toy", "phantom", {f"seed-{seed}": [f"--seed={seed}"] for seed in range(2)}, args)
    assert reports[0][0] == ["run of 0", "run of 1"]


def test_without_submitit_a_cluster_is_refused(tmp_path, reports, monkeypatch):
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(ConfigError, match="cluster"):
        study.run_study("toy", "phantom", {"a": ["--seed=0"]}, StudyFlags(runs_dir=str(tmp_path), cluster="local"))
