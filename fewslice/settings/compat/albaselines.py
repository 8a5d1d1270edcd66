"""The configuration of the histology experiments, translated into a native experiment.

Names and defaults of the fields are the published ones, also in the published way of writing them,
`active.py with heuristic='bald' run=0`; those marked "ours" were added here.

Source: the active-learning baselines for gland segmentation by V. Rocheleau (2020), which compare MC-dropout heuristics
on GlaS.
"""

import ast
import dataclasses
import os
import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from annotated_types import Ge, Le

from fewslice.core import registry
from fewslice.core.errors import ConfigError
from fewslice.core.options import options_of
from fewslice.core.registry import unknown_name
from fewslice.settings.al_flags import StudyFlags
from fewslice.settings.declare import Aside, Count, Help, Must, declared, settings_of
from fewslice.settings.experiment import SCORE, STRATEGY, QuerySettings
from fewslice.settings.stage_flags import Resume
from fewslice.settings.yaml import YamlFile, scalar

# Published heuristic -> ours. Any other name is that of a score, or of a strategy with the query it needs.
HEURISTICS = {"mc": "vote_variance", "bald": "bald", "max": "expected_entropy", "rand": "random"}
_STRATEGIES = {"random": {}, "power": {"score": "bald"}, "batchbald": {}}
START = 4  # images, whatever `n_label_start` says
_CHECK = ("print_config", "print_named_configs")
_SIDES = re.compile(r"[\[(]?\s*(\d+)\s*(,\s*\1\s*)?[\])]?")


def _idle(why: str) -> Help:
    return Aside("Published.", no_effect=why)


@declared
class FullSupervision(StudyFlags):
    """Flags of baseline_training.py, and those that active.py shares with it."""

    dataset: Annotated[str, "Ours: a dataset of images with masks."] = "glas"
    epochs: Annotated[Count, "Epochs of each training."] = 60
    drop_epochs: Annotated[Count, "Ours: epochs after which the learning rate falls to a tenth, again and again."] = 40
    batch_size: Annotated[Count, "Images per step."] = 16
    patch_size: Annotated[
        str,
        Must(lambda text: _SIDES.fullmatch(text) is not None, "equal sides in pixels, such as 416,416"),
        "Crop that is trained on, in pixels.",
    ] = "416,416"
    average: Annotated[
        Literal["probabilities", "logits"], "Ours: what is averaged over the passes of a test; logits as published."
    ] = "probabilities"
    manual_seed: Annotated[int | None, Ge(0), Le(10**6), "Seed."] = None
    data_path: Annotated[str, _idle("init_<dataset>.py and --data_root say where the images are")] = "data/GlaS"
    splits_path: Annotated[str, _idle("data_cfg_<dataset>.py holds the lists (create_splits.py)")] = "data/splits/glas"
    preload: Annotated[bool, _idle("prepared images are memory-mapped")] = True
    check_only: Annotated[bool, "Check the experiment and its dataset, say what it would do, and stop."] = False
    resume: Resume = True

    def completed(self) -> Self:
        """Returns these flags with full paths."""
        return dataclasses.replace(self, runs_dir=self.runs_folder)

    @property
    def experiment(self) -> YamlFile:
        """The native experiment, as a file would say it."""
        values = {"name": "baseline_training", "rounds": [1.0], "unit": "image", "seed": self.manual_seed or 0}
        return YamlFile("baseline_training.py", values | self._network, {}, ())

    @property
    def _network(self) -> dict[str, Any]:
        network = {
            "name": "strided_unet",
            "epochs": self.epochs,
            "drop_epochs": self.drop_epochs,
            "batch_size": self.batch_size,
            "average": self.average,
        }
        network["patch"] = int(_SIDES.fullmatch(self.patch_size)[1])
        return {"dataset": self.dataset, "network": network}


@declared
class HistologyArgs(FullSupervision):
    """Flags of active.py."""

    heuristic: Annotated[
        str,
        "mc (variance of the class index over passes), bald, max (expected entropy), rand; power (PowerBALD), "
        "batchbald, or any score, such as margin. Options follow: axon_myelin:edt=false, bald:shuffle_prop=0.2, "
        "power:score=entropy. Several, separated by commas, make a study.",
    ] = "mc"
    run: Annotated[int, Ge(0), "Number of the run: each has a seed of its own."] = 0
    runs: Annotated[str | None, "Ours: several runs, such as 0-4 or 0,2, as a study."] = None
    results_dir: Annotated[str, "Folder for <heuristic>_<run>.npy."] = "results/exp_10/"
    al_cycles: Annotated[Count, "Queries after the first images."] = 15
    n_data_to_label: Annotated[Count, "Images per query, of each image-level class with balance_al."] = 1
    balance_al: Annotated[bool, "As many images of each image-level class."] = True
    image_class: Annotated[str, "Ours: the fact of an image that is its class."] = "grade"
    mc_iters: Annotated[Count, "Dropout passes over the images that can be chosen."] = 20
    seed: Annotated[int | None, Ge(0), Le(10**6), "Seed of run 0; else `manual_seed`."] = None
    save_maps: Annotated[bool, "Writes uncertainty maps of the images of each query."] = False
    save_uncerts: Annotated[bool, "Draws the distribution of the scores of each query."] = False
    n_label_start: Annotated[int, _idle(f"the published code starts with {START} images whatever it says")] = 5
    base_state_dict_path: Annotated[str, _idle("nothing reads it")] = "state_dicts/al_model.pt"
    num_classes: Annotated[int, _idle("init_<dataset>.py says it")] = 2

    def completed(self) -> Self:
        folder = os.path.abspath(os.path.expanduser(self.results_dir))
        return dataclasses.replace(super().completed(), results_dir=folder)

    @property
    def experiment(self) -> YamlFile:
        query, balanced = self._query, self.balance_al
        if balanced:
            query |= {"per_label": self.n_data_to_label, "balance": "known"}
        values = {
            "name": re.sub(r"[^\w.-]", "-", f"{self.heuristic}_{self.run}"),
            "unit": {"name": "image"} | ({"label": self.image_class} if balanced else {}),
            "query": query,
            "first_query": {"strategy": "first"},
            "rounds": [START] + [self.n_data_to_label * (1 + balanced)] * self.al_cycles,
            "seed": (self.seed or self.manual_seed or 0) + self.run,
        }
        return YamlFile(f"active.py, heuristic={self.heuristic} run={self.run}", values | self._network, {}, ())

    @property
    def _query(self) -> dict[str, Any]:
        """What the heuristic stands for. Raises `ConfigError` for an unknown one."""
        name, *texts = self.heuristic.split(":")
        name, known = HEURISTICS.get(name, name), registry.of(SCORE)
        scores = [each for each in known.names() if known.get(each).source == "passes"]
        if scores and name not in {*scores, *_STRATEGIES}:  # none: they are not imported
            raise ConfigError(unknown_name("heuristic", name, {*scores, *_STRATEGIES, *HEURISTICS}))
        query = _STRATEGIES.get(name, {"score": name}) | ({} if name == "random" else {"passes": self.mc_iters})
        strategy, score = {"name": name if name in _STRATEGIES else "uncertainty"}, {}
        own = options_of(registry.of(STRATEGY).get(strategy["name"])) if texts else ()
        for key, _, text in (each.partition("=") for each in texts):
            place = query if key in settings_of(QuerySettings) else strategy if key in own else score
            place[key] = scalar(text)
        if "score" in query:
            query |= {key: True for key in ("save_maps", "save_uncerts") if getattr(self, key)}
            query["score"] = {"name": query["score"], **score} if score else query["score"]
        else:
            strategy |= score
        return query | {"strategy": strategy if len(strategy) > 1 else strategy["name"]}


def flags_of(words: Sequence[str], cls: type[FullSupervision] = HistologyArgs) -> list[str]:
    """Returns the flags of `cls` that arguments in the published form stand for; arguments that are flags stay.

    The published form is `[command] with name=value ...`, the values as Python writes them.

    Raises:
        ConfigError: an unknown command or field, or a word that sets nothing.

    Example:
        >>> flags_of(["with", "heuristic='bald'", "run=0", "patch_size=(416, 416)"])
        ['--heuristic=bald', '--run=0', '--patch_size=416,416']
    """
    flags, known = [word for word in words if word.startswith("-")], settings_of(cls)
    rest = [word for word in words if not word.startswith("-")]
    if rest and rest[0] in _CHECK:
        flags.append("--check_only")
        rest = rest[1:]
    if rest and rest[0] != "with":
        raise ConfigError(
            f"Unknown command {rest[0]!r}. Write `with name=value ...` or flags; `print_config with ...` only checks."
        )
    for word in rest[1:]:
        name, equals, text = word.partition("=")
        if name.partition(".")[0] == "dataset" and "." in name:  # published and without effect
            continue
        if not equals or name not in known:
            raise ConfigError(unknown_name("field", name, known))
        value = _value(text)
        if value is not None:
            flags.append(f"--{name}={','.join(map(str, value)) if isinstance(value, tuple | list) else value}")
    return flags


def _value(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
