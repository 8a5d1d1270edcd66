"""A study: experiments of active learning that one command asks for, and the report that compares them.

runs/<dataset>/studies/<name>-<digest>/
    study.json          the command of each experiment
    <experiment>.log    what it printed
    <experiment>.txt    its run folder
    report.html results.csv

Each experiment is the script itself with the flags of one combination of values, in a process of its own or a job of a
cluster. A repeated command does what is left, since each experiment resumes by itself.
"""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from absl import flags, logging

from fewslice.core import files
from fewslice.core.console import duration
from fewslice.core.errors import ConfigError, FewSliceError, few
from fewslice.core.parallel import map_threads
from fewslice.report.pages.experiments import write_experiment_report
from fewslice.settings import datasets
from fewslice.settings.al_flags import AlArgs, StudyFlags
from fewslice.settings.declare import settings_of
from fewslice.settings.stage_flags import ScriptFlags
from fewslice.settings.yaml import scalar
from fewslice.stages.active import prepare

FLAGS = flags.FLAGS
_MOST = 1000  # experiments of a study
_POLL_S = 2.0


def values_of(text: str) -> list[str]:
    """Returns the values that a text lists.

    >>> values_of("0-2,7"), values_of("random, mfc")
    (['0', '1', '2', '7'], ['random', 'mfc'])

    Raises:
        ConfigError: no value, one twice, or a range that runs backwards or is endless.
    """
    found: list[str] = []
    for part in map(str.strip, text.split(",")):
        ends = re.fullmatch(r"(\d{1,6})-(\d{1,6})", part)
        first, last = map(int, ends.groups()) if ends else (0, 0)
        if not part or last < first or last - first >= _MOST:
            raise ConfigError(f"{text!r} lists no values. Write them as 0-4, 0,2,5 or random,mfc.")
        found += map(str, range(first, last + 1)) if ends else [part]
    if len(set(found)) < len(found):
        raise ConfigError(f"{text!r} lists a value twice.")
    return found


def combinations(axes: Mapping[str, Sequence[str]]) -> list[dict[str, str]]:
    """Returns every combination of the values of each key."""
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]


def repeated_flags(*left_out: str) -> list[str]:
    """Returns the flags on the command line, but for those of studies and those left out."""
    left, found = {*settings_of(StudyFlags), "study", *left_out} - {*settings_of(ScriptFlags), "set"}, []
    for name in FLAGS:
        if FLAGS[name].present and name not in left and name == FLAGS[name].name:
            value = FLAGS[name].value
            found += [
                f"--{name}={str(one).lower() if isinstance(one, bool) else one}"
                for one in (value if isinstance(value, list) else [value])
            ]
    return found


def study_of(args: AlArgs) -> Path | None:
    """Runs the study of run_al_exp.py: an experiment for each combination of the values of `--study`.

    Raises:
        ConfigError: what is wrong with an experiment, before any of them runs.
        FewSliceError: some experiments failed.
    """
    texts = datasets.parse_overrides(args.study, flag="study", example="seed=0-4")
    if both := sorted(set(texts) & set(args.overrides)):
        raise ConfigError(f"--set and --study both give {few(both)}. Give it once.")
    experiments, same, job = {}, repeated_flags("check_only"), None
    for one in combinations({key: values_of(text) for key, text in texts.items()}):
        job = prepare(args.config, {**args.overrides, **one}, data_root=args.data_root)
        label = re.sub(r"[^\w.-]", "-", "_".join(f"{key}-{text}" for key, text in one.items()))
        experiments[label] = [*same, *(f"--set={key}={value}" for key, value in one.items())]
        logging.info("%s: %s", label, job.describe())
    return None if args.check_only else run_study(job.experiment.name, job.dataset.name, experiments, args)


def run_study(name: str, dataset: str, experiments: Mapping[str, Sequence[str]], args: StudyFlags) -> Path:
    """Runs all experiments of a study and writes their report.

    Args:
        name: Of the study.
        dataset: Below whose runs it lies.
        experiments: Label -> flags of this script.

    Returns:
        The report.

    Raises:
        ConfigError: too many experiments; submitit is not installed.
        FewSliceError: some experiments failed; the others are in the report.
    """
    if len(experiments) > _MOST:
        raise ConfigError(f"{len(experiments)} experiments are more than {_MOST}. Ask for fewer values.")
    folder = Path(args.runs_folder, dataset, "studies", f"{name}-{files.digest(dict(experiments))}")
    folder.mkdir(parents=True, exist_ok=True)
    script = os.path.abspath(sys.argv[0])
    commands = {
        label: [sys.executable, script, *flags, f"--record={folder / f'{label}.txt'}"]
        for label, flags in experiments.items()
    }
    files.write_json(folder / "study.json", commands)
    logging.info("%d experiments, %d at a time: %s", len(commands), args.jobs, folder)
    run = _in_processes if args.cluster == "none" else _as_jobs
    failed, started = [], time.monotonic()
    for done, (label, status) in enumerate(run(commands, folder, args), start=1):
        failed += [label] if status else []
        end, passed = "failed" if status else "done", duration(time.monotonic() - started)
        logging.info("%s %s (%d of %d, %s)", label, end, done, len(commands), passed)
    records = [folder / f"{label}.txt" for label in commands]
    found = [path.read_text(encoding="utf-8").strip() for path in records if path.is_file()]
    report = folder / "report.html"
    if found:
        write_experiment_report(found, report, title=f"Study {name}")
        logging.info("Report of %d experiments: %s", len(found), report)
    if failed:
        raise FewSliceError(
            f"{len(failed)} of {len(commands)} experiments failed: {few(failed)}. Their output: {folder}, "
            "<experiment>.log. The others are done; repeat the command once the cause is mended."
        )
    return report


def record_run(path: str | None, run_dir: Path) -> None:
    """Writes where a run lies, for `--record`."""
    if path:
        files.write_text(path, f"{run_dir}\n")


def _command(command: Sequence[str], log: Path) -> int:
    """Runs an experiment, its output into a file, and returns its exit status."""
    with open(log, "wb") as out:
        environment = {"FEWSLICE_CHAIN": "0 steps", **os.environ}  # so that it ends with this process
        return subprocess.run(command, stdout=out, stderr=subprocess.STDOUT, env=environment, check=False).returncode


def _in_processes(commands: Mapping[str, Sequence[str]], folder: Path, args: StudyFlags):
    labels = list(commands)
    results = map_threads(lambda label: _command(commands[label], folder / f"{label}.log"), labels, workers=args.jobs)
    for index, status in results:
        yield labels[index], status


def _as_jobs(commands: Mapping[str, Sequence[str]], folder: Path, args: StudyFlags):
    try:
        import submitit
    except ImportError as error:
        raise ConfigError("--cluster needs submitit. Install it: pip install -e '.[cluster]'") from error
    given = datasets.parse_overrides(args.cluster_options, flag="cluster_options", example="timeout_min=600")
    options = {"timeout_min": 60 * 24} | {name: scalar(text) for name, text in given.items()}
    executor = submitit.AutoExecutor(folder / "jobs", cluster=args.cluster)
    try:
        executor.update_parameters(**options)
    except (NameError, TypeError, ValueError) as error:
        raise ConfigError(f"--cluster_options: {error}") from error
    left, waiting = list(commands), {}
    most = len(left) if args.cluster == "slurm" else args.jobs  # SLURM has a queue of its own
    while left or waiting:
        for label in left[: most - len(waiting)]:
            left.remove(label)
            waiting[label] = executor.submit(_command, commands[label], folder / f"{label}.log")
        for label in [label for label, job in waiting.items() if job.done()]:
            job = waiting.pop(label)
            yield label, 1 if job.exception() else job.result()
        time.sleep(_POLL_S if waiting else 0)
