"""The command-line flags of predict.py and export_run.py."""

from pathlib import Path
from typing import Annotated, Literal, Self

from annotated_types import Ge

from fewslice.core.errors import ConfigError, listed
from fewslice.settings.declare import declared
from fewslice.settings.stage_flags import ScriptFlags


@declared
class ExportArgs(ScriptFlags):
    """Flags of export_run.py."""

    run: Annotated[
        tuple[str, ...],
        "Folder of a training with labels; of an experiment, one of its rounds or members; or of several of these, "
        "which then predict together (the mean of their probabilities). May be repeated.",
    ] = ()
    output: Annotated[str | None, "Folder for the result."] = None
    orientation: Annotated[
        Literal["recorded", "canonical", "as_stored"],
        "Whether scans are turned to R, A, S: as the run records; for a run of an earlier version, which does not, as "
        "`orientation` in its init file said.",
    ] = "recorded"
    largest_component: Annotated[
        bool, "Keep the largest connected part of each structure (voxels that touch by a face) and no other."
    ] = False
    mirroring: Annotated[
        bool | None,
        "Predict each slice flipped along rows, columns and both, too, and take the mean: four times the time. "
        "Default: as the runs were tested.",
    ] = None

    label_codes: Annotated[
        bool, "Write the codes of the dataset's own label files (its `label_map`) instead of 0, 1, 2, ..."
    ] = False

    def completed(self) -> Self:
        """Returns these flags. Raises `ConfigError` if one of those that it cannot do without is missing."""
        needed = {"run": "=<folder of a run>", "images": "=<folder or file>", "output": "=<new folder>"}
        missing = [f"--{name}{value}" for name, value in needed.items() if not getattr(self, name, True)]
        if missing:
            raise ConfigError(listed("The command", [f"Add {text}." for text in missing]))
        return self

    @property
    def run_orientation(self) -> str | None:
        return None if self.orientation == "recorded" else self.orientation

    @property
    def output_folder(self) -> Path:
        return Path(self.output).absolute()


@declared
class PredictArgs(ExportArgs):
    """Flags of predict.py."""

    images: Annotated[
        tuple[str, ...], "Folder of scans or pictures, a file, or a pattern in quotes. May be repeated."
    ] = ()
    batch_size: Annotated[int | None, Ge(1), "Slices that go through a network at a time. Default: as in training."] = (
        None
    )
    passes: Annotated[
        int | None, Ge(0), "Dropout passes whose mean is taken; 0: one without dropout. Default: as the network says."
    ] = None
    probabilities: Annotated[bool, "Also write <scan>_probabilities.nii.gz: a 4-D file, a map for each class."] = False
