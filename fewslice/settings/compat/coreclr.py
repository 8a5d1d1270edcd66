"""Experiment files in the published form of CoreCLR, translated into the native one.

A file has the groups `model` and `policy`, maybe `data_geometry` and `model_uncertainty`, and `exp_dir`. Names and
defaults of keys are the published ones; those marked "ours" were added here. Keys without effect are dropped, and named
in one line of the log. The settings of strategies, scores and group contrastive training are declared where they belong
and only have other names or defaults here.

Vepa et al., 2024, https://arxiv.org/abs/2411.15763.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from absl import logging
from annotated_types import Ge, Le, Len

from fewslice.core import options, registry
from fewslice.core.options import Place, name_of
from fewslice.settings import datasets
from fewslice.settings.declare import Count, Must, NotNegative, Positive, declared, settings_of
from fewslice.settings.experiment import ENCODER, FEATURES, SCORE, STRATEGY, Experiment, PlainName, outside_problem
from fewslice.settings.group_contrastive import TERMS, GroupContrastive
from fewslice.settings.yaml import Reader, Registered, YamlFile

# Published name of a dataset -> ours.
DATASETS = {
    "ACDC": "acdc_wsl4mis", "CHAOS_CT": "chaos_ct", "MSCMR": "mscmr", "LVSC": "lvsc", "DAVIS": "davis",
    "DAVIS2": "davis2",
}  # fmt: skip
_RGB = ("davis", "davis2")
# Published name of a score -> ours; of the dropout passes of one network, whose mean over networks is `mean_score`.
SCORES = {
    "entropy_w_label_probs": "entropy", "ensemble_variance_ratio": "variance_ratio",
    "entropy_w_label_counts": "vote_entropy",
}  # fmt: skip
SCORES_OF_PASSES = {"entropy_score": "entropy", "bald_score": "bald"}
MEAN_SCORE = "mean_score"
KCENTER, COREGCN, VAAL, TYPICLUST = "kcenter_greedy", "coregcn", "vaal", "typiclust"
_PIXELS, _PASS, _PRETRAINABLE = "pixels", "pass", "pretrainable_unet"
_MAPS = ("encoder_map", "pooled_map")
_BUILT = {
    "dmpls": ("unet_cct",), "db_dmpls": ("unet_cct",), "strong": ("unet", _PRETRAINABLE),
    "db_strong": ("unet",), "lvm_med": (),
}  # fmt: skip
_METADATA = (
    "patient_wt", "phase_wt", "group_wt", "height_wt", "weight_wt", "slice_rel_pos_wt", "slice_mid_wt", "slice_pos_wt",
)  # fmt: skip
_ACDC_ONLY = ("phase_wt", "group_wt", "height_wt", "weight_wt")
# Option of a network -> published name.
_NETWORK = {
    "batch_size": "batch_size", "learning_rate": "base_lr", "steps": "max_iterations", "val_every": "val_every",
    "recompute_bn_statistics": "steady_statistics", "encoder": "encoder_name", "epochs": "num_epochs",
    "val_epochs": "val_epoch", "beta_1": "train_beta1", "beta_2": "train_beta2", "weight_decay": "train_weight_decay",
}  # fmt: skip
_PARAMS = ("data_geometry", "feature_model_params")

# Keys that change nothing here, by group: what the published code does not read, and what is fixed in this software.
_IDLE = {
    ("model",): ("seed", "gpus", "deterministic", "tag"),
    ("data_geometry",): (
        "ann_type", "gpus", "seed", "in_chns", "patch_size", "dataset_kwargs", "uncertainty_score_file", "s_margin",
        "beta", "input_chann", "knn_model",
    ),
    (*_PARAMS,): ("patch_size", "loss", "patience", "tol", "cl_model_save_name", "seed", "debug"),
    ("data_geometry", "coreset_kwargs"): ("seed",),
    ("model_uncertainty",): ("seed",),
    ("policy",): ("resume", "save_im_score_file", "pseudolabels", "tag"),
    ("policy", "ensemble_kwargs"): ("inf_train", "resume_on_val", "resume_on_test"),
    ("policy", "uncertainty_kwargs"): ("delete_preds",),
    ("policy", "geometry_kwargs"): ("delete_preds",),
}  # fmt: skip
_FILES = ("tag", "uncertainty_score_file", "cl_model_save_name", "save_im_score_file")
_Channels, _Annotation = Literal[1, 3], Literal["scribble", "label"]


def _is_round(item: list[Any]) -> bool:
    shares, rest = item[:2], item[2:]
    are_shares = all(type(share) in (int, float) and 0 <= share <= 1 for share in shares)
    return len(shares) == 2 and are_shares and any(rest == [m, s][: len(rest)] for m, s in _ENDS)


_ENDS = [(method, skips) for method in ("random", None) for skips in (True, False)]
_ROUND = "[oracle, pseudo, method, skip_training]: two shares from 0 to 1, random or null, true or false"
_Size = Annotated[
    tuple[int, int],
    Must(lambda sides: all(n > 0 and n % 16 == 0 for n in sides), "[rows, columns] in pixels, multiples of 16"),
]
_Positions = Annotated[
    list[int],
    Must(lambda found: all(0 <= one <= 3 for one in found), "a list of positions from 0 to 3, such as [2, 3]"),
]


@declared
class Model:
    model_type: str
    dataset: str = "ACDC"
    ann_type: _Annotation = "scribble"
    ensemble_size: Count = 1
    in_chns: _Channels = 1
    batch_size: Count = 6
    base_lr: Positive = 0.01
    patch_size: _Size | None = None
    inf_train_type: Literal["preds", "features"] = "preds"
    feature_decoder_index: Annotated[int, Ge(0), Le(4)] = 0
    # Ours: run directory of an encoder; list of the dataset and its combination; another name of `patch_size`.
    warm_start: str = ""
    split: str = "al"
    comb: str = "c1"
    mixed_precision: bool = False
    network_size: _Size | None = None


@declared
class UNet(Model):
    seg_model: Literal["unet", "unet_cct", "pretrainable_unet", "unet_cct_3h", "unet_ds", "efficient_unet", "pnet"] = (
        "unet"
    )
    max_iterations: Count = 60000
    val_every: Count = 200  # ours


@declared
class Dmpls(UNet):
    seg_model = "unet_cct"
    steady_statistics: bool = False  # ours, `recompute_bn_statistics`


@declared
class Strong(UNet):
    ann_type = "label"
    steady_statistics: bool = False


@declared
class DropoutDmpls(UNet):
    seg_model = "unet_cct"
    T: Annotated[int, Ge(2)] = 40
    db_score_func: Literal["pass_probs", "entropy_score", "bald_score"] | None = None


@declared
class DropoutStrong(DropoutDmpls):
    ann_type = "label"
    seg_model = "unet"


@declared
class Pretrained(Model):
    in_chns = 3
    batch_size = 8
    base_lr = 1e-4
    encoder_name: Literal["resnet50", "resnet18"] = "resnet50"
    val_epoch: Count = 1
    num_epochs: Count = 50
    base_original_checkpoint: str = "scratch"  # ours: gcl, the encoder that the experiment pretrains; or a run
    train_beta1: Annotated[float, Ge(0), Le(0.9999)] = 0.9
    train_beta2: Annotated[float, Ge(0), Le(0.999999)] = 0.999
    train_weight_decay: NotNegative = 0.0
    train_scheduler: Literal[0, 1] = 0
    amp: bool = False


@declared
class Params(GroupContrastive):
    batch_size = 64
    neg_loss_wt = 0.1
    pos_loss1_wt = 0.1
    pos_loss2_wt = 0.1
    pos_loss3_wt = 0.1
    pos_loss1_mask: _Positions = ()
    pos_loss2_mask: _Positions = ()
    pos_loss3_mask: _Positions = ()
    neg_loss: bool | None = None
    pos_loss1: bool | None = None
    pos_loss2: bool | None = None
    pos_loss3: bool | None = None
    use_slice_pos: bool = False
    use_phase: bool = False
    use_patient: bool = False
    reset_sampler_every_epoch: bool = False
    num_epochs: Count = 100
    pretrained: bool = False
    in_chns: _Channels = 1
    inf_batch_size: Count = 128
    fuse_image_data: bool = False
    fuse_image_data_size_prop: Positive = 0.1
    cl_prev_path: str | None = None

    def native(self) -> dict[str, Any]:
        """Returns the settings of the encoder in the native form."""
        found = {name: getattr(self, name) for name in settings_of(GroupContrastive)}
        for name, value in found.items():
            if name.endswith("_mask"):
                found[name] = ",".join(map(str, sorted(set(value))))
            elif isinstance(value, bool):
                found[name] = int(value)
            elif hasattr(self, name.removesuffix("_wt")) and name != "loss_wt":
                found[name] = value if getattr(self, name.removesuffix("_wt")) else 0.0
        return found | {"epochs": self.num_epochs, "run": self.cl_prev_path or ""}


@declared
class CoresetKwargs:
    temp_init: Positive = 1.0
    temp_scale: Literal["inv_iter"] | None = None


@declared
class Geometry:
    data_geometry_type: str


@declared
class ByFeatures(Geometry):
    dataset_type: Literal[tuple(DATASETS)] | None = None
    feature_model: bool = False
    contrastive: bool = False
    feature_model_params: Params = Params()
    use_model_features: bool = False
    features: Annotated[str | None, Registered(FEATURES)] = None  # ours: any kind of features by its name


@declared
class KCenter(ByFeatures):
    alg_string: Literal["kcenter_greedy", "gpu_kcenter_greedy", "pkcenter_greedy"] = "kcenter_greedy"
    coreset_kwargs: CoresetKwargs = CoresetKwargs()
    use_uncertainty: bool = False


@declared
class Ensemble:
    model_uncertainty_type: str
    score_func: str = "entropy_w_label_counts"


@declared
class Stochastic(Ensemble):
    sbatch_size: Count = 10


@declared
class EnsembleKwargs:
    skip: bool = False
    train: bool = True
    inf_val: Annotated[bool, Must(bool, "true: the checkpoint with the best validation Dice is evaluated")] = True
    inf_test: bool = False


@declared
class ScoreKwargs:
    skip: Annotated[
        bool, Must(lambda value: not value, "false; write rounds without ranking as [share, 0, random]")
    ] = False


@declared
class Policy:
    policy_type: Literal["random", "ranked"]
    rounds: Annotated[tuple[Annotated[list[Any], Must(_is_round, _ROUND)], ...], Len(1)]
    seed: Annotated[int, Ge(0), Le(2**31 - 1)] = 0
    ensemble_kwargs: EnsembleKwargs = EnsembleKwargs()
    uncertainty_kwargs: ScoreKwargs = ScoreKwargs()
    geometry_kwargs: ScoreKwargs = ScoreKwargs()
    rank_type: Literal["desc", "inc"] = "desc"
    annotator: Annotated[str, Registered("annotator")] = "simulated"  # ours


MODELS = {
    "dmpls": Dmpls, "strong": Strong, "db_dmpls": DropoutDmpls, "db_strong": DropoutStrong, "lvm_med": Pretrained,
}  # fmt: skip
UNCERTAINTIES = {"ensemble": Ensemble, "stochastic": Stochastic}
GEOMETRIES = {KCENTER: KCenter, COREGCN: ByFeatures, VAAL: Geometry, TYPICLUST: ByFeatures}
# Published defaults of MultiFeature Coreset where ours are those of the published experiment for ACDC.
_MFC = {"use_labels": False, "default_pos_val": 1.0, "pos_wt": 1.0, "normalize_pos_by_label_ct": False}


def read_published(reader: Reader) -> Experiment | None:
    """Returns the experiment of a published file, None if anything is wrong, which the reader notes."""
    kinds = {**GEOMETRIES, **dict.fromkeys(registry.of(STRATEGY).names())}
    of_group = {"model": MODELS, "data_geometry": kinds, "model_uncertainty": UNCERTAINTIES}
    wanted = _file_class(*(_class_of(reader, group, of_type) for group, of_type in of_group.items()))
    idle = list(_without_idle(reader, wanted))
    file = reader.read(wanted, _moved)
    if file is None or reader.problems:
        return None
    translation = Translation(reader, file)
    reader.problems += translation.problems()
    if reader.problems:
        return None
    values = translation.values() | {"name": file.exp_dir}
    native = Reader(YamlFile(reader.file.path, values, {}, ()), {})
    found = native.read(Experiment)
    native.problems += found.problems() if found is not None else ()
    reader.problems += [(translation.place(place), _in_published_words(text)) for place, text in native.problems]
    if idle := sorted([*idle, *translation.idle()]):
        logging.info("No effect here: %s (%s).", ", ".join(idle), reader.file.path)
    return found


@functools.lru_cache(64)
def _file_class(model: Any, geometry: Any, uncertainty: Any) -> type:
    """Returns the class of a whole file with these classes of its groups."""
    required = {"model": model, "policy": Policy, "exp_dir": PlainName}
    optional = {"data_geometry": (geometry | None, None), "model_uncertainty": (uncertainty | None, None)}
    return options.as_type({name: (kind, options.REQUIRED) for name, kind in required.items()} | optional)


def _in_published_words(text: str) -> str:
    for value, word in (("0", "false"), ("1", "true")):
        text = re.sub(rf"\b(use_slice_pos|use_phase|use_patient): {value}\b", rf"\1: {word}", text)
    return text


def _without_idle(reader: Reader, wanted: type) -> Iterator[str]:
    """Takes keys without effect away, and yields them; options of a registered strategy may have their names."""
    for place, names in _IDLE.items():
        values = reader.mapping(place)
        is_own = place == ("data_geometry",) and values.get("data_geometry_type") not in [*GEOMETRIES]
        own = options.fields_of(options.type_at(wanted, place)) if is_own else ()
        for name in [name for name in names if name in values and name not in own]:
            value, at = values.pop(name), (*place, name)
            if name in _FILES and (problem := outside_problem(str(value))):
                reader.problem(at, f"`{name_of(at)}` must be a plain name without folders. {problem}")
            yield name_of(at)


def _class_of(reader: Reader, group: str, kinds: Mapping[str, Any]) -> Any:
    """Returns the class of a group by the type that the file gives it; `Any` if that is wrong, which is noted."""
    given, key = reader.values.get(group), f"{group}_type"
    if not isinstance(given, dict):
        return next(iter(MODELS.values())) if group == "model" else ScoreKwargs
    kind = given.get(key)
    kind = kind if kind is None or isinstance(kind, str) else options.shown(kind)
    if kind == _PASS and group != "model":
        reader.values[group] = None
    if kind == _PASS or kind in kinds:
        return _geometry_class(kind) if group == "data_geometry" and kind != _PASS else kinds.get(kind, Any)
    if str(kind).startswith("spml"):
        text = f"{kind} was driven through scripts of a repository that no longer exists. Write dmpls or strong."
    elif kind is None:
        text = f"it must be given, one of {', '.join(kinds)}."
    else:
        text = registry.unknown_name("type", kind, [*kinds, *([_PASS] if group != "model" else [])])
    reader.problem((group, key) if key in given else (group,), f"`{group}.{key}`: {text}")
    return Any


def _registered(kind: str) -> tuple[str, str, Any]:
    """Returns kind, name and object of the strategy, or score, that a type of geometry stands for."""
    of, name = {VAAL: (SCORE, VAAL), KCENTER: (STRATEGY, "mfc")}.get(kind, (STRATEGY, kind))
    return of, name, registry.of(of).get(name)


def _own_options(kind: str) -> options.Known:
    """Returns the options of a geometry that are those of a registered strategy, or score."""
    registered = _registered(kind)[-1]
    known = options.options_of(getattr(registered, "options_class", None) or registered)
    declared_here = set(options.fields_of(GEOMETRIES.get(kind, ByFeatures)))
    declared_here |= set(options.fields_of(Params)) if kind == KCENTER else set()
    own = {name: known[name] for name in known if name not in declared_here}
    return own | {name: (own[name][0], default) for name, default in (_MFC if kind == KCENTER else {}).items()}


@functools.lru_cache(64)
def _class_of_geometry(kind: str, registered: Any) -> type:
    return options.as_type(_own_options(kind), GEOMETRIES.get(kind, ByFeatures))


def _geometry_class(kind: str) -> type:
    return _class_of_geometry(kind, _registered(kind)[-1])


def _moved(place: Place) -> str:
    """Returns where an unknown key belongs, in a sentence; "" if nowhere."""
    *group, name = place
    group = ".".join(map(str, group))
    if name == "exp_dir":
        return "`exp_dir` stands at the beginning of a line, in no group. Move it there."
    classes = {
        "model": MODELS, "data_geometry": {kind: _geometry_class(kind) for kind in GEOMETRIES},
        "model_uncertainty": UNCERTAINTIES, "policy": {"": Policy}, ".".join(_PARAMS): {"": Params},
        "policy.ensemble_kwargs": {"": EnsembleKwargs}, "data_geometry.coreset_kwargs": {"": CoresetKwargs},
    }  # fmt: skip
    found = {known: [kind for kind in of if name in options.fields_of(of[kind])] for known, of in classes.items()}
    if kinds := found.get(group):
        return f"`{group}.{name}` counts only for {' or '.join(kinds)}. Remove it."
    known = next((known for known, kinds in found.items() if kinds), "")
    return f"The key {name!r} stands in the group `{known}`. Move it there." if known else ""


Row = tuple[Any, str, str]  # whether something is wrong, the key, what is wrong


class Translation:
    """The groups of a file, and what they are in the native form.

    Attributes:
        kind: The type of the geometry, "" without one.
        params: The encoder's settings.
        dataset: Our name of the dataset.
        channels: Channels of the images of a published dataset, None for others.
        weights: What names the initial weights of the networks: key, value; ("", "") if nothing does.
    """

    def __init__(self, reader: Reader, file: Any):
        self.reader, self.model, self.policy, self.uncertainty = reader, file.model, file.policy, file.model_uncertainty
        self.geometry, model, geometry = file.data_geometry, file.model, file.data_geometry
        self.kind = geometry.data_geometry_type if geometry else ""
        self.params = getattr(geometry, "feature_model_params", Params())
        self.is_random, self.is_pretrained = file.policy.policy_type == "random", isinstance(model, Pretrained)
        self.is_fused = self.params.fuse_image_data and geometry.feature_model
        self.dataset = DATASETS.get(model.dataset, model.dataset)
        self.channels = (3 if self.dataset in _RGB else 1) if self.dataset in DATASETS.values() else None
        self.first = getattr(model, "base_original_checkpoint", "scratch")
        self.weights = ("warm_start", model.warm_start) if model.warm_start else ("", "")
        if self.first != "scratch":
            self.weights = ("base_original_checkpoint", self.first)

    def values(self) -> dict[str, Any]:
        """Returns the keys of the native form."""
        model, policy = self.model, self.policy
        trains = policy.ensemble_kwargs.train and not policy.ensemble_kwargs.skip
        query, first = ({"strategy": "random"},) * 2 if self.is_random else (self._query(True), self._query(False))
        shown = [one for one in (query, first) if (one.get("features") or {}).get("name") == ENCODER]
        start = {"gcl": ENCODER}.get(self.weights[1], self.weights[1])
        needs_encoder = bool(shown) or start == ENCODER
        size = model.network_size or model.patch_size
        return {
            "dataset": self.dataset,
            "network": self._network(),
            "rounds": [self._round(item, trains) for item in policy.rounds],
            "query": query,
            "first_query": first if first != query else None,
            "annotation": {"label": "mask"}.get(model.ann_type, model.ann_type),
            "annotator": policy.annotator,
            "members": model.ensemble_size,
            "encoder": self.params.native() if needs_encoder else None,
            "warm_start": start,
            "split": model.split,
            "comb": model.comb,
            "size": list(size) if size else None,
            "test": policy.ensemble_kwargs.inf_test,
            "mixed_precision": model.mixed_precision or getattr(model, "amp", False),
            "seed": policy.seed,
        }

    def _round(self, item: list[Any], trains: bool) -> dict[str, Any]:
        add, longer, method, skips = (*item, *(None, False)[len(item) - 2 :])
        query = {"query": "random"} if method == "random" and not self.is_random else {}
        return {"add": float(add), "longer": float(longer), "train": trains and not skips} | query

    def _network(self) -> dict[str, Any]:
        model = self.model
        found = {name: getattr(model, key) for name, key in _NETWORK.items() if hasattr(model, key)}
        if self.is_pretrained:
            return {"name": "resnet_unet", **found, "cosine": bool(model.train_scheduler)}
        if model.seg_model == "unet_cct":
            return {"name": "dmpls", **found}
        loss = "strong_segmentation" if model.ann_type == "label" else "partial_cross_entropy"
        return {"name": {"unet": "scribble_unet"}.get(model.seg_model, model.seg_model), "loss": loss, **found}

    def _query(self, has_network: bool) -> dict[str, Any]:
        """Returns the query of a round that ranks.

        One that would rank by scores or gradients of networks while none is trained is random. A geometry that would
        look at features of networks, or add their scores, does without them until then.
        """
        geometry = self.geometry
        scored = self._scored() if self.uncertainty and has_network else {}
        if geometry is None:
            if not has_network:
                return {"strategy": "random"}
            if isinstance(self.uncertainty, Stochastic):
                batches = {"name": "stochastic_batches", "sbatch_size": self.uncertainty.sbatch_size}
                return {"strategy": batches, **scored}
            return {"strategy": "uncertainty", "ascending": self.policy.rank_type == "inc", **scored}
        own = {name: getattr(geometry, name) for name in _own_options(self.kind)}
        if self.kind == VAAL:
            return {"strategy": "uncertainty", "score": {"name": VAAL, **own}}
        if self.kind == KCENTER:
            return self._kcenter(own, scored, self._features(has_network))
        if self.kind not in GEOMETRIES:
            own = {name: value for name, value in own.items() if self._has("data_geometry", name)}
        needs = registry.of(STRATEGY).get(self.kind).needs
        if not has_network and {"gradients", "scores"} & set(needs):
            return {"strategy": "random"}
        features = {"features": self._features(has_network)} if "features" in needs else {}
        return {"strategy": {"name": self.kind, **own}, **features, **scored}

    def _kcenter(self, own: dict[str, Any], scored: dict[str, Any], features: dict[str, Any]) -> dict[str, Any]:
        """Returns the coreset that the keys describe: of pixels, of embeddings, or of several features."""
        geometry, is_raw = self.geometry, features["name"] == _PIXELS
        if geometry.alg_string == "pkcenter_greedy":
            kwargs = geometry.coreset_kwargs
            drawn = {"name": "pkcenter", "temp_init": kwargs.temp_init, "temp_scale": kwargs.temp_scale}
            return {"strategy": drawn, "features": features}
        scored = scored if geometry.use_uncertainty else {}
        has_terms = any(own[name] for name in _METADATA)
        if not (self.is_fused or scored or has_terms or own["use_labels"] or own["metric"] != "euclidean"):
            return {"strategy": "coreset"} if is_raw else {"strategy": "kcenter", "features": features}
        own |= {"uncertainty_wt": own["uncertainty_wt"] if scored else 0.0}
        if own["use_labels"] and is_raw:
            return {"strategy": {"name": "mfc_pixels", **own}, **scored}
        own["fuse_image_data"] = self.is_fused
        own["fuse_image_data_size_prop"] = self.params.fuse_image_data_size_prop
        return {"strategy": {"name": "mfc", **own}, "features": features, **scored}

    def _features(self, has_network: bool) -> dict[str, Any]:
        geometry, model = self.geometry, self.model
        wanted = geometry.features
        if geometry.use_model_features:
            wanted = "encoder_map" if model.inf_train_type == "features" else "predictions"
        if not wanted or (not has_network and registry.of(FEATURES).get(wanted).needs_network):
            wanted = ENCODER if geometry.feature_model else _PIXELS
        named: dict[str, Any] = {"name": wanted}
        if wanted == ENCODER:
            named["batch_size"] = self.params.inf_batch_size
        elif wanted in _MAPS:
            named["level"] = model.feature_decoder_index
        return named

    def _scored(self) -> dict[str, Any]:
        """Returns which score, of how many passes, and how networks are combined."""
        passes, score = getattr(self.model, "T", 1), self.uncertainty.score_func
        if score == MEAN_SCORE:
            score = SCORES_OF_PASSES[self.model.db_score_func]
            return {"score": score, "passes": passes, "combine": "mean_scores"}
        return {"score": SCORES.get(score, score), "passes": passes}

    def problems(self) -> Iterator[tuple[Place, str]]:
        """Yields (place, message) of keys that do not fit each other, but for what the native form finds, too."""
        rows = self._problems_of_model_and_policy()
        has_encoder = isinstance(self.geometry, ByFeatures)
        if self.uncertainty is not None and not self.is_random:
            rows += self._problems_of_scores()
        if has_encoder and (self.weights[1] == "gcl" or not self.is_random):
            rows += self._problems_of_encoder()
        if self.geometry is not None and not self.is_random:
            own = {name: getattr(self.geometry, name) for name in _own_options(self.kind)}
            wrong = options.registered_options(*_registered(self.kind), own)[1]
            rows += [(True, name_of(("data_geometry", *place)), text) for place, text in wrong]
            rows += self._problems_of_features() if has_encoder else []
            rows += self._problems_of_distance() if self.kind == KCENTER else []
            rows += self._problems_of_ranking()
        yield from ((tuple(place.split(".")), text) for is_wrong, place, text in rows if is_wrong)

    def _problems_of_model_and_policy(self) -> list[Row]:
        model, first, channels = self.model, self.first, self.channels
        name, built, pretrained = self.dataset, _BUILT[model.model_type], self.is_pretrained
        known, seg_model = [*DATASETS, *datasets.dataset_names()], getattr(model, "seg_model", None)
        is_deep, size = pretrained or seg_model == _PRETRAINABLE, model.network_size or model.patch_size
        ranked, is_batches = not self.is_random, isinstance(self.uncertainty, Stochastic)
        is_deep_or_vaal = is_deep or (self.kind == VAAL and ranked)
        has_own, weights = getattr(self.geometry, "contrastive", False), ("lvm-med-resnet", "imagenet_v2")
        return [
            (model.dataset not in known, "model.dataset", registry.unknown_name("dataset", model.dataset, known)),
            (name == "mscmr" and model.ann_type == "label", "model.ann_type",
             f"{model.dataset} has scribbles only. Write scribble and a dmpls model."),
            (name in _RGB and model.ann_type == "scribble", "model.ann_type",
             f"{model.dataset} has full masks only. Write `ann_type: label` and a strong model."),
            (pretrained and model.ann_type == "scribble", "model.ann_type",
             "lvm_med learns from full masks. Write `ann_type: label` (the published default cannot train)."),
            (not pretrained and channels not in (None, model.in_chns), "model.in_chns",
             f"images of {model.dataset} have {channels} channels. Write `in_chns: {channels}`."),
            (not pretrained and seg_model not in built, "model.seg_model",
             f"`{seg_model}` does not fit {model.model_type} or is not part of this software. Write "
             f"{' or '.join(built)}."),
            (model.warm_start and not is_deep, "model.warm_start",
             f"pretrained weights fit `model_type: strong` with `seg_model: {_PRETRAINABLE}`, or lvm_med. Write one of "
             "these, or remove it."),
            (model.warm_start and first != "scratch", "model.warm_start",
             "base_original_checkpoint names other weights. Remove one of the two."),
            (model.network_size and model.patch_size and model.network_size != model.patch_size, "model.patch_size",
             f"network_size says {list(model.network_size or ())}. Remove one of the two."),
            (is_deep_or_vaal and any(side % 32 for side in size or ()),
             f"model.{'network_size' if model.network_size else 'patch_size'}",
             f"{'this network' if is_deep else VAAL} needs sizes in multiples of 32. Received: {list(size or ())}"),
            (first in weights, "model.base_original_checkpoint",
             f"the weights {first} are not part of this software. Write gcl (the encoder that the experiment "
             "pretrains), scratch, or the run directory of a pretrained encoder."),
            (first == "gcl" and not has_own, "model.base_original_checkpoint",
             "gcl needs a data_geometry with `contrastive: true`."),
            (first == "gcl" and has_own and self.params.encoder != getattr(model, "encoder_name", ""),
             "model.encoder_name",
             f"the encoder that is pretrained is a {self.params.encoder}. Write it in both places."),
            (ranked and self.geometry is None and self.uncertainty is None, "policy.policy_type",
             "ranked needs a data_geometry or model_uncertainty group. Add one, or write random."),
            (ranked and self.policy.rank_type == "inc" and (self.geometry is not None or is_batches),
             "policy.rank_type", "only an ensemble's scores can be ranked from the lowest up (inc). Remove it."),
        ]  # fmt: skip

    def _problems_of_scores(self) -> list[Row]:
        named, of_passes = self.uncertainty.score_func, getattr(self.model, "db_score_func", None)
        names = [*SCORES, MEAN_SCORE, *(name for name in registry.of(SCORE).names() if name != VAAL)]
        is_mean, place = named == MEAN_SCORE, "model_uncertainty.score_func"
        drops = isinstance(self.model, DropoutDmpls)
        return [
            (named not in names, place, registry.unknown_name("score", named, names)),
            (is_mean and not drops, place,
             "mean_score averages what MC dropout gives. Write a db_ model, or another score."),
            (is_mean and drops and of_passes not in SCORES_OF_PASSES, "model.db_score_func",
             "mean_score needs `db_score_func: bald_score` or `entropy_score`."),
            (not is_mean and of_passes in SCORES_OF_PASSES, place,
             f"{named} looks at probabilities, not at a score per network. Write `mean_score`, or "
             "`db_score_func: pass_probs`."),
        ]  # fmt: skip

    def _problems_of_encoder(self) -> list[Row]:
        geometry, params, channels, prefix = self.geometry, self.params, self.channels, name_of(_PARAMS)
        if not geometry.feature_model:
            return [
                (geometry.contrastive, "data_geometry.contrastive",
                 "needs `feature_model: true`; without it features are raw pixels."),
                (not geometry.contrastive and self._has(*_PARAMS), prefix,
                 "is not looked at without `feature_model: true`. Add that, or remove the group."),
            ]  # fmt: skip
        terms = ("neg_loss", *(f"pos_loss{number}" for number in TERMS))
        idle = [(term, name) for term in terms for name in (f"{term}_wt", f"{term}_mask") if not getattr(params, term)]
        at_channels = f"{prefix}.in_chns" if self._has(*_PARAMS, "in_chns") else prefix
        return [
            (not geometry.contrastive and not params.cl_prev_path, "data_geometry.feature_model",
             "without `contrastive: true` the encoder would have ImageNet weights, which are not part of this "
             "software. Add that, or name a pretrained run by feature_model_params.cl_prev_path."),
            (params.pretrained, f"{prefix}.pretrained",
             "ImageNet weights are not part of this software. Write false."),
            (channels not in (None, params.in_chns), at_channels,
             f"images of {self.model.dataset} have {channels} channels. Write `in_chns: {channels}`."),
            (params.cl_prev_path in ("none", _PIXELS), f"{prefix}.cl_prev_path",
             "must be a run directory. Remove it for an encoder of the experiment's own."),
            *((self._has(*_PARAMS, name) and not params.cl_prev_path, f"{prefix}.{name}",
               f"has no effect without `{term}: true`. Add that, or remove it.") for term, name in idle),
            (params.fuse_image_data and self.kind != KCENTER, f"{prefix}.fuse_image_data",
             f"counts only for {KCENTER}. Remove it."),
        ]  # fmt: skip

    def _problems_of_features(self) -> list[Row]:
        geometry, model, named, place = self.geometry, self.model, self.geometry.features, "data_geometry.features"
        has_maps = not self.is_pretrained and model.seg_model != _PRETRAINABLE
        of_network = geometry.use_model_features and model.inf_train_type == "features"
        looks = self.kind in GEOMETRIES or "features" in _registered(self.kind)[-1].needs
        names = ("feature_model", "contrastive", "feature_model_params", "use_model_features", "features")
        kind = registry.of(FEATURES).get(named or _PIXELS)
        misses, dataset_type = kind.needs_encoder and not geometry.feature_model, geometry.dataset_type
        return [
            *((not looks and self._has("data_geometry", name), f"data_geometry.{name}",
               f"{self.kind} looks at no features. Remove it.") for name in names),
            (dataset_type and DATASETS.get(dataset_type) != self.dataset, "data_geometry.dataset_type",
             f"the pool is that of model.dataset, {model.dataset}. Remove `dataset_type`, or write it there."),
            ((named in _MAPS or of_network) and not has_maps, "model.inf_train_type" if of_network else place,
             "maps of the encoder can be had of `unet` and `unet_cct` only. Look at predictions."),
            (named and geometry.use_model_features, place,
             "says otherwise than `use_model_features: true`. Remove one of the two."),
            (named and misses, place, f"{named} needs an encoder. Write `feature_model: true`."),
            (named and geometry.feature_model and not (kind.needs_encoder or kind.needs_network), place,
             f"{named} does not look at the encoder of `feature_model: true`. Remove one of the two."),
        ]  # fmt: skip

    def _problems_of_distance(self) -> list[Row]:
        geometry, model, fused = self.geometry, self.model, self.is_fused
        is_raw = geometry.features in (None, _PIXELS) and not (geometry.feature_model or geometry.use_model_features)
        metadata = [name for name in _METADATA if getattr(geometry, name)]
        has_more = fused or metadata or geometry.use_uncertainty or geometry.use_labels
        weights = ("pos_wt", "normalize_pos_by_label_ct", "label_wt", "default_pos_val")[2 if fused else 0 :]
        idle = next((name for name in weights if self._has("data_geometry", name)), None)
        missing = "use_labels: true" if fused or is_raw else "feature_model_params: {fuse_image_data: true}"
        return [
            (geometry.use_labels and not (fused or is_raw), "data_geometry.use_labels",
             "the annotation weights pixels, and none enter the distance. Write `feature_model: true` and "
             "`fuse_image_data: true` in feature_model_params, or let features be raw pixels."),
            *((name in _ACDC_ONLY and model.dataset in DATASETS and model.dataset != "ACDC", f"data_geometry.{name}",
               f"{model.dataset} has no such metadata. Remove it.") for name in metadata),
            (geometry.alg_string != KCENTER and (has_more or geometry.metric != "euclidean"),
             "data_geometry.alg_string",
             f"{geometry.alg_string} looks at plain features and Euclidean distances only. Write {KCENTER}, or remove "
             "fuse_image_data, use_labels, use_uncertainty, metric and the weights."),
            (geometry.use_uncertainty and not geometry.uncertainty_wt, "data_geometry.use_uncertainty",
             "has no effect with `uncertainty_wt: 0`. Give it a weight, or remove it."),
            (geometry.uncertainty_wt and not geometry.use_uncertainty, "data_geometry.uncertainty_wt",
             "has no effect without `use_uncertainty: true`. Add that, or remove it."),
            (idle and not geometry.use_labels, f"data_geometry.{idle}",
             f"has no effect without `{missing}`. Add that, or remove it."),
        ]  # fmt: skip

    def _problems_of_ranking(self) -> list[Row]:
        is_own, geometry, uncertainty = self.kind not in GEOMETRIES, self.geometry, self.uncertainty
        uses = getattr(geometry, "use_uncertainty", False)
        needs = uses or (is_own and "scores" in _registered(self.kind)[-1].needs)
        more = ", or let it enter the distance with `use_uncertainty: true` and `uncertainty_wt`"
        return [
            (needs and uncertainty is None, f"data_geometry.{'use_uncertainty' if uses else 'data_geometry_type'}",
             "needs scores of networks. Add the group model_uncertainty (ensemble, entropy_w_label_probs)."),
            (is_own and getattr(geometry, "uncertainty_wt", 0), "data_geometry.uncertainty_wt",
             f"{self.kind} gets no scores under this name. Write `data_geometry_type: {KCENTER}`, "
             "`fuse_image_data: true` and `use_uncertainty: true` for the same."),
            (uncertainty is not None and not needs, "model_uncertainty",
             f"a geometry ranks alone. Remove the group model_uncertainty{more if self.kind == KCENTER else ''}."),
            (needs and isinstance(uncertainty, Stochastic), "model_uncertainty.model_uncertainty_type",
             "stochastic ranks batches and no geometry. Write ensemble, or remove data_geometry."),
        ]  # fmt: skip

    def idle(self) -> list[str]:
        """Returns the keys that the file gives and that count only together with others."""
        geometry, params, prefix = None if self.is_random else self.geometry, self.params, name_of(_PARAMS)
        named, uses_network = getattr(geometry, "features", None), getattr(geometry, "use_model_features", False)
        is_of_network = uses_network or (named is not None and registry.of(FEATURES).get(named).needs_network)
        kcenter, ranked = geometry is not None and self.kind == KCENTER, geometry is not None
        has_terms = kcenter and (geometry.use_uncertainty or any(getattr(geometry, name) for name in _METADATA))
        drawn = kcenter and geometry.alg_string == "pkcenter_greedy"
        lengthens = any(item[1] for item in self.policy.rounds)  # the second number of a round
        encoder = " ".join(f"{prefix}.{name}" for name in (*settings_of(GroupContrastive), "num_epochs"))
        keys = [
            (not uses_network, "model.inf_train_type"),
            (not is_of_network, "model.feature_decoder_index"),
            (self.is_random or self.uncertainty is None, "model.T model.db_score_func"),
            (self.is_random, "policy.rank_type model_uncertainty"),
            (self.is_random and self.weights[1] != "gcl", "data_geometry"),
            (self.is_pretrained and lengthens, "policy.rounds"),
            (kcenter and not has_terms,
             "data_geometry.extra_feature_wt data_geometry.max_dist data_geometry.wt_max_dist_mult"),
            (kcenter and not drawn, "data_geometry.coreset_kwargs.temp_init data_geometry.coreset_kwargs.temp_scale"),
            (ranked and not params.fuse_image_data, f"{prefix}.fuse_image_data_size_prop"),
            (ranked and params.cl_prev_path, encoder),
        ]  # fmt: skip
        found = [key for is_idle, names in keys if is_idle for key in names.split()]
        return [key for key in found if self._has(*key.split("."))]

    def place(self, native: Place) -> Place:
        """Returns where the file says what the native form says at a place."""
        match native:
            case ("rounds", int(number), *_):
                return ("policy", "rounds", number)
            case ("query" | "first_query", "strategy", str(option)) if option != "name":
                return ("data_geometry", option) if self.geometry else ("model_uncertainty", option)
            case ("query" | "first_query", "score", *_) if self.uncertainty:
                return ("model_uncertainty", "score_func")
            case ("query" | "first_query", *rest):
                return ("data_geometry", *rest[1:]) if self.geometry else ("policy", "policy_type")
            case ("encoder", str(name)):
                term = name.removesuffix("_wt")
                return (*_PARAMS, term if self._has(*_PARAMS, term) else name)
        key = native[0] if native else ""
        others = {"warm_start": ("model", self.weights[0]), "name": ("exp_dir",)}
        others |= {name: ("policy", name) for name in ("rounds", "annotator")}
        return others.get(key, ("model", key))

    def _has(self, *place: str) -> bool:
        """Whether the file, or an override, gives a key."""
        return place[-1] in self.reader.mapping(place[:-1])
