"""The command-line flags of active learning: run_al_exp.py and select_slices.py."""

import dataclasses
import os
import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from annotated_types import Ge

from fewslice.core.errors import ConfigError
from fewslice.settings import dataset_files, datasets
from fewslice.settings.declare import Aside, Count, Help, Must, declared
from fewslice.settings.stage_flags import OnDataset, Resume, ScriptFlags
from fewslice.settings.yaml import scalar

Budget = Annotated[
    str,
    Must(
        lambda value: re.fullmatch(r"\s*(\d+|(\d+(\.\d*)?|\.\d+)\s*%)\s*", value, re.ASCII) is not None,
        "a number of slices, such as 12, or a share of the pool, such as 5%",
    ),
]

_STEPS = (
    "the steps of an experiment belong to its file, since its networks are compared at equal length. Shorten it there "
    "or with --set, for instance network.steps=2000 or members.count=1; each network says how long the rest takes"
)


@declared
class StudyFlags(ScriptFlags):
    """Flags of experiments: what differs from their file, and how several run that one command asks for."""

    set: Annotated[
        tuple[str, ...],
        "group.key=value overrides the experiment, such as network.width=8; name=value an attribute of "
        "init_<dataset>.py, such as img_size_x=96 (crops; with target_resolution it shrinks). May be repeated.",
    ] = ()
    jobs: Annotated[Count, Aside("Experiments of a study that run at the same time; SLURM has its queue.")] = 1
    cluster: Annotated[
        Literal["none", "local", "slurm"],
        Aside("Runs each experiment of a study as a job through submitit: slurm, or local processes."),
    ] = "none"
    cluster_options: Annotated[
        tuple[str, ...],
        Aside("name=value: a parameter of submitit, such as slurm_partition=gpu or timeout_min=600; may be repeated."),
    ] = ()
    record: Annotated[str | None, Aside("File that gets the path of the run folder, for scripts.")] = None

    @property
    def overrides(self) -> Mapping[str, str]:
        """Name -> text of `--set`."""
        return datasets.parse_overrides(self.set)


@declared
class AlArgs(StudyFlags):
    """Flags of run_al_exp.py."""

    config: Annotated[str | None, "The experiment, a .yml file."] = None
    study: Annotated[
        tuple[str, ...],
        "key=values: an experiment for each value, and for each combination where it is repeated, such as seed=0-4 or "
        "query.strategy=random,mfc. One report compares them.",
    ] = ()
    prefill: Annotated[
        str | None, "`annotator: files`: run folder of a segmentation network whose predictions the masks begin with."
    ] = None
    accept: Annotated[
        tuple[Literal["empty", "shifted", "header", "full"], ...],
        "Answer to a question about annotated files: empty (slices without paint show nothing), shifted (paint one "
        "slice off is moved), header (files are taken voxel by voxel), full (scribbles may fill a slice). May be "
        "repeated.",
    ] = ()
    redo_round: Annotated[
        int | None,
        Ge(0),
        "`annotator: files`: round, from 0, whose files were corrected. It and later ones are done again where its "
        "labels differ; what they were is kept in replaced/.",
    ] = None
    check_only: Annotated[bool, "Check the experiment and its dataset, say what it would do, and stop."] = False
    hours: Annotated[float | None, Help("Not here: the experiment's file sets the steps.", no_effect=_STEPS)] = None
    resume: Resume = True

    def completed(self) -> Self:
        """Returns these flags with the folder for the results.

        Raises:
            ConfigError: no experiment is named, an override without "=", or the same one twice.
        """
        if self.hours is not None:
            raise ConfigError(f"--hours={self.hours:g}: {_STEPS}.")
        if not self.config:
            known = sorted(path.stem for path in (dataset_files.checkout() / "experiments").glob("*.yml"))
            listed = f" There are: {', '.join(known)}." if known else ""
            raise ConfigError(f"Which experiment? Give --config=../experiments/<name>.yml.{listed}")
        return dataclasses.replace(self, runs_dir=self.runs_folder)


@declared
class SelectArgs(OnDataset):
    """Flags of select_slices.py. Paths are absolute, `split` and `phases` given, once they are `completed`."""

    stage: ClassVar[str] = "select_slices"

    encoder: Annotated[
        str,
        "Run folder of a network that turns slices into embeddings, such as one of "
        "pretr_encoder_group_contrastive_loss, or pixels, or none.",
    ] = "none"
    budget: Annotated[Budget, "Slices to choose: a share of the pool, such as 5%, or a number, such as 12."] = "5%"
    strategy: Annotated[str, "How to choose: mfc, kcenter, typiclust, probcover, random, ...; see fewslice/active."] = (
        "mfc"
    )
    options: Annotated[tuple[str, ...], "name=value: an option of the strategy; may be repeated."] = ()
    split: Annotated[
        str | None,
        "List in data_cfg_<dataset>.py whose patients are the pool, such as tr52. Default: the dataset's "
        "`unlabeled_split`. Test patients are refused.",
    ] = None
    phases: Annotated[
        str | tuple[str, ...] | None,
        "Phases of the pool, separated by commas: ED or ED,ES. Default: `unlabeled_phases`.",
    ] = None
    labelled: Annotated[
        str | None, "CSV file with a column unit_id, such as an earlier query.csv: slices that are annotated already."
    ] = None
    network: Annotated[
        str | None, "Run folder of a segmentation network, for strategies that look at its uncertainty."
    ] = None
    # Scores of one network in one pass; the others compare passes or members of an ensemble.
    score: Annotated[
        Literal["entropy", "least_confidence", "margin"],
        "Which uncertainty of --network: entropy, least_confidence or margin.",
    ] = "entropy"
    with_scribbles: Annotated[
        bool, "mfc: weigh pixels by each slice's scribble, where the dataset has them already (an experiment)."
    ] = False
    annotation: Annotated[
        Literal["mask", "scribble", "none"],
        "What a person paints in the files of to_annotate/: mask, scribble; none writes no files.",
    ] = "mask"
    prefill: Annotated[
        str | None, "Run folder of a segmentation network whose predictions the masks in to_annotate/ begin with."
    ] = None
    batch_size: Annotated[Count, "Slices that go through a network at a time."] = 32
    output: Annotated[
        str | None, "Folder for the result. Default: runs/<dataset>/select_slices/<strategy>-<digest>/."
    ] = None

    @property
    def strategy_options(self) -> dict[str, Any]:
        """Name -> value of `--options`: numbers, true, false, null or text."""
        found = datasets.parse_overrides(self.options, flag="options", example="k_nn=20")
        texts = {name: text.strip() for name, text in found.items()}
        return {name: None if text.lower() == "none" else scalar(text) for name, text in texts.items()}

    def completed(self) -> tuple[Self, datasets.DatasetConfig]:
        """Returns these flags with the pool and the folders filled in, and the dataset's settings.

        Raises:
            ConfigError: wrong settings or options, an unknown list, or one with test patients.
        """
        dataset = self.load_dataset()
        split = self.split or dataset.unlabeled_split
        try:
            datasets.check_pretraining_split(dataset, split, self.comb_tr_imgs)
        except ConfigError as error:
            raise ConfigError(str(error).replace("--no_of_tr_imgs", "--split")) from error
        return dataclasses.replace(
            self,
            runs_dir=self.runs_folder,
            split=split,
            phases=tuple(each.strip() for each in self.phases.split(",")) if self.phases else dataset.unlabeled_phases,
            labelled=os.path.abspath(self.labelled) if self.labelled else None,
            output=os.path.abspath(self.output) if self.output else None,
        ), dataset
