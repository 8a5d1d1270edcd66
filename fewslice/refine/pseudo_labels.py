"""Pseudo-labels of unlabelled volumes: made by a network, refined, selected, written with their statistics.

Chaitanya et al., 2021, https://arxiv.org/abs/2112.09645, section 3. One round is one folder:

    round_00/
      teacher.npz        the weights that predicted, so that the round can be made again
      labels/<case>.npy  (Z, NX, NY) uint8, on the network's grid
      confidence/<case>.npy  the same shape, where asked for: probability of the label, the CRF's if one ran; 255 is 1
      parts/             finished volumes of an unfinished round; gone when it is finished
        <case>.json      the volume's key and row; written after its arrays, so it vouches for them
        <case>.npy       (2, Z, NX, NY) uint8, of the volumes of the gallery only: classes before and after refinement
      gallery.png        some slices with their outlines
      round.json         step, parameters, one entry per volume; written last: a folder without it is not a round

A round that was killed resumes at the next volume: a part is taken over if nothing that its row and arrays depend on
has changed (the key) and all its files are as they were written (checksums). Else its volume is made again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fewslice.core import files
from fewslice.core.errors import DataError, FewSliceError, TrainingError
from fewslice.data.volume import with_channel_axis
from fewslice.evaluate.metrics import dice_per_class, mean_foreground
from fewslice.refine.agreement import agreement
from fewslice.refine.dense_crf import CrfParameters, refine

if TYPE_CHECKING:
    from fewslice.data.cache import PreparedVolume

Predict = Callable[[np.ndarray], np.ndarray]
Truth = Callable[[str], np.ndarray | None]
Shown = tuple["PreparedVolume", np.ndarray, np.ndarray]  # and its classes before and after refinement
# A finished volume: its entry in the round's record, with the checksums of its arrays; and its classes before and after
# refinement, each (Z, NX, NY) uint8, if the gallery shows it.
Part = tuple[dict[str, Any], Sequence[np.ndarray] | None]
RECORD = "round.json"
TEACHER = "teacher.npz"
GALLERY_ROWS = 6
PARTS = "parts"
KINDS = {"labels": "sha256", "confidence": "confidence_sha256"}  # folder -> its column in a volume's record
FORMAT = 1  # of parts; raise it when the making of pseudo-labels or this format changes: older ones are not used then
_LENGTH = 64  # hexadecimal digits: a whole SHA-256
_COLUMNS = {"index": int, "step": int, "volumes": list}  # of a round's record
_AGAIN = "Restore it; or move {} elsewhere: the round will be made again by the network that it keeps."


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of a round of pseudo-labels.

    Attributes:
        num_classes: K, with the background.
        struct_name: Names of the classes 1 to K - 1.
        crf: Parameters of the dense CRF; None takes the most probable class.
        min_agreement: Volumes whose predictions from two augmented views agree less (mean F1 of the foreground) are
            left out; None takes all.
        confidence: Whether the probabilities of the refined labels are kept too.
    """

    num_classes: int
    struct_name: tuple[str, ...]
    crf: CrfParameters | None = None
    min_agreement: float | None = None
    seed: int = 0
    refresh_every: int = 5000
    confidence: bool = False


@dataclasses.dataclass(frozen=True, eq=False)
class Round:
    """Pseudo-labels of one round.

    Attributes:
        index: 0, 1, ...
        step: Training steps after which they are used.
        labels: case_id -> (Z, NX, NY) uint8, memory-mapped; accepted volumes only.
        rows: One per volume, accepted or not, see `_row`.
        confidence: case_id -> (Z, NX, NY) uint8 where they were kept; else empty.
    """

    index: int
    step: int
    labels: Mapping[str, np.ndarray]
    rows: tuple[dict[str, Any], ...]
    confidence: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, eq=False)
class Teacher:
    """The network that makes a round.

    Attributes:
        path: Its weight file, which is copied into the round's folder.
        step: Its training steps.
        predict: (Z, NX, NY, 1) float32 -> (Z, NX, NY, K) probabilities.
    """

    path: Path
    step: int
    predict: Predict


def make_round(
    folder: Path,
    *,
    index: int,
    teacher: Teacher,
    volumes: Sequence[PreparedVolume],
    settings: Settings,
    truth: Truth = lambda _case_id: None,
    progress: Callable[[str], None] = lambda _text: None,
    draw: Callable[[Path, Sequence[Shown], Truth], None] | None = None,
) -> Round:
    """Predicts, refines and writes one round. Volumes that a stopped attempt has finished alike are taken over.

    Args:
        truth: case_id -> true labels (Z, NX, NY) for the statistics only, or None.
        progress: Called with each volume once it is kept, also about those taken over. It may raise to stop.
        draw: Writes gallery.png from `GALLERY_ROWS` volumes and `truth`; None writes none.

    Returns:
        The round. Its `labels` are empty if no volume was accepted.

    Raises:
        TrainingError: the network's output is NaN.
    """
    (folder / RECORD).unlink(missing_ok=True)
    if teacher.path != folder / TEACHER:
        files.write_bytes(folder / TEACHER, teacher.path.read_bytes())
    sha256, rows, shown = files.sha256(folder / TEACHER), [], []
    drawn = set(np.linspace(0, len(volumes) - 1, GALLERY_ROWS).round().astype(int).tolist())
    about = {"index": index, "teacher_sha256": sha256, "settings": dataclasses.asdict(settings)}
    for number, volume in enumerate(volumes):
        case_id, is_shown = volume.case.case_id, number in drawn
        true = truth(case_id)
        key = _part_key(volume, true, {**about, "number": number, "is_shown": is_shown})
        part = _read_part(folder, case_id, key)
        if part is None:
            row, before, after, certainty = _one(volume, (index, number), teacher.predict, settings, true)
            part = _write_part(folder, key, row, (after, certainty), shown=(before, after) if is_shown else None)
        row, classes = part
        rows.append(row)
        if is_shown:
            shown.append((volume, *classes))
        progress(case_id)
    if draw is not None:
        draw(folder / "gallery.png", shown, truth)
    record = {"index": index, "step": index * settings.refresh_every, "teacher_step": teacher.step}
    _tidy(folder, rows)
    files.write_json(folder / RECORD, {**record, **about, "volumes": rows})
    return load_round(folder)


def load_round(folder: Path) -> Round | None:
    """Reads a round and tidies up after it; None if it was not finished.

    Raises:
        DataError: a file of a finished round is missing or was changed.
    """
    if not (folder / RECORD).exists():
        return None
    shutil.rmtree(folder / PARTS, ignore_errors=True)  # here, for the round may have been killed after its record
    record = _read_record(folder)
    arrays: dict[str, dict[str, np.ndarray]] = {kind: {} for kind in KINDS}
    for row in record["volumes"]:
        for kind, column in KINDS.items():
            if row["accepted"] and column in row:
                arrays[kind][row["case_id"]] = _read_array(folder / kind / f"{row['case_id']}.npy", row[column])
    return Round(
        record["index"], record["step"], arrays["labels"], tuple(record["volumes"]), confidence=arrays["confidence"]
    )


def _read_array(path: Path, sha256: str) -> np.ndarray:
    if not path.is_file() or files.sha256(path) != sha256:
        expected = "the pseudo-labels that this round was made of"
        found = "nothing" if not path.is_file() else "a file with another content"
        raise DataError(path, expected=expected, found=found, remedy=_AGAIN.format(path.parent.parent / RECORD))
    return np.load(path, mmap_mode="r")


def summary(made: Round) -> str:
    """Returns one line for the log: volumes taken, pixels changed by refinement, structures lost, agreement."""
    rows = made.rows
    parts = [f"{sum(row['accepted'] for row in rows)} of {len(rows)} volumes"]
    parts.append(f"refinement changed {_mean(rows, 'changed'):.2%} of the pixels")
    lost = [f"{name} in {row['case_id']}" for row in rows for name in row["lost"]]
    parts.append(f"lost {', '.join(lost)}" if lost else "lost no structure")
    if any("dice" in row for row in rows):
        before, after = _mean(rows, "dice_before"), _mean(rows, "dice")
        parts.append(f"mean Dice with the truth {after:.3f} ({before:.3f} before refinement; not used for training)")
    return "; ".join(parts)


def _mean(rows: Sequence[Mapping[str, Any]], name: str) -> float:
    """Returns the mean of a column over the rows that have a value there; NaN if none has."""
    values = [row[name] for row in rows if row.get(name) is not None]
    return float(np.mean(values)) if values else float("nan")


def table(folder: Path) -> list[dict[str, Any]]:
    """Returns the rows of logs/pseudo_labels.csv: one per volume of every finished round below `folder`."""
    rows = []
    for path in sorted(folder.glob(f"round_*/{RECORD}")):
        record = _read_record(path.parent)
        head = {"round": record["index"], "step": record["step"], "teacher_step": record["teacher_step"]}
        for row in record["volumes"]:
            plain = {k: " ".join(v) if isinstance(v, list) else v for k, v in row.items() if k not in KINDS.values()}
            rows.append({**head, **plain})
    return rows


def _read_record(folder: Path) -> dict[str, Any]:
    remedy = _AGAIN.format("this file")
    record = files.read_record(folder / RECORD, _COLUMNS, remedy=remedy)
    are_rows = all(isinstance(row, dict) and {"case_id", "accepted"} <= set(row) for row in record["volumes"])
    if not are_rows or "teacher_step" not in record:
        expected, found = "the record of a round of pseudo-labels", "a damaged file"
        raise DataError(folder / RECORD, expected=expected, found=found, remedy=remedy)
    return record


def _one(
    volume: PreparedVolume, place: tuple[int, int], predict: Predict, settings: Settings, truth: np.ndarray | None
) -> tuple[dict[str, Any], np.ndarray, np.ndarray, np.ndarray | None]:
    """Returns the row of one volume, the most probable classes, the refined labels and their probabilities."""
    images = np.ascontiguousarray(volume.image, np.float32)
    probabilities = predict(with_channel_axis(images))
    if not np.isfinite(probabilities).all():
        raise TrainingError(f"The network's prediction of {volume.case.case_id} is NaN or infinite.")
    before = probabilities.argmax(axis=-1).astype(np.uint8)
    grey = images if images.ndim == 3 else images.mean(axis=-1)  # of several channels
    after, shares = (before, probabilities) if settings.crf is None else refine(probabilities, grey, settings.crf)
    row = _row(volume, before, after, settings, truth)
    views = None
    if settings.min_agreement is not None:
        rng = np.random.default_rng([settings.seed, *place])
        views = mean_foreground(agreement(predict, with_channel_axis(images), settings.num_classes, rng))
    row["agreement_of_views"] = views
    row["accepted"] = views is None or bool(views > settings.min_agreement)
    certainty = None
    if settings.confidence:
        chosen = np.take_along_axis(shares, after[..., None].astype(np.intp), axis=-1)[..., 0]
        certainty = np.rint(255 * np.clip(chosen, 0, 1)).astype(np.uint8)
    return row, before, after, certainty


def _row(
    volume: PreparedVolume, before: np.ndarray, after: np.ndarray, settings: Settings, truth: np.ndarray | None
) -> dict[str, Any]:
    """Returns the statistics of one volume.

    `pixels_<structure>` are sizes after refinement, `changed` is the share of all pixels that refinement changed,
    `changed_foreground` that of those that are no background before or after, `lost` are the structures it removed,
    `dice_<structure>` compares with the truth where there is one: for reports only, since the truth of unlabelled
    volumes must not reach training or any choice.
    """
    before_sizes, sizes = (np.bincount(labels.ravel(), minlength=settings.num_classes) for labels in (before, after))
    lost = np.flatnonzero((before_sizes > 0) & (sizes == 0))
    num_changed, num_foreground = int((before != after).sum()), int(((before > 0) | (after > 0)).sum())
    row = {
        "case_id": volume.case.case_id,
        "patient_id": volume.case.patient_id,
        "changed": num_changed / before.size if before.size else float("nan"),
        "changed_foreground": num_changed / num_foreground if num_foreground else float("nan"),
        "lost": [settings.struct_name[index - 1] for index in lost.tolist() if index],
    }
    for index, name in enumerate(settings.struct_name, start=1):
        row[f"pixels_{name}"] = int(sizes[index])
    if truth is not None:
        dice = dice_per_class(truth, after, settings.num_classes)
        raw = dice_per_class(truth, before, settings.num_classes)
        row |= {f"dice_{name}": float(dice[i]) for i, name in enumerate(settings.struct_name, start=1)}
        row |= {"dice": mean_foreground(dice), "dice_before": mean_foreground(raw)}
    return row


def _part_key(volume: PreparedVolume, truth: np.ndarray | None, about: Mapping[str, Any]) -> str:
    """Returns a digest of all that a part depends on: volume, truth, and `about`: teacher, settings, place, gallery."""
    content = {"image": _content(volume.image), "truth": None if truth is None else _content(truth)}
    names = {"case_id": volume.case.case_id, "patient_id": volume.case.patient_id}
    return files.digest({"format": FORMAT, **names, **content, "about": about}, _LENGTH)


def _content(array: np.ndarray) -> list[Any]:
    return [array.dtype.str, array.shape, hashlib.sha256(np.ascontiguousarray(array)).hexdigest()]


def _write_part(
    folder: Path,
    key: str,
    row: Mapping[str, Any],
    arrays: tuple[np.ndarray, np.ndarray | None],
    *,
    shown: tuple[np.ndarray, np.ndarray] | None,
) -> Part:
    """Writes the arrays of a volume, if it was accepted, and then its part.

    Args:
        row: Entry of the volume, without checksums.
        arrays: Labels (Z, NX, NY) uint8, and their confidences or None.
    """
    row, record = dict(row), {"key": key}
    if row["accepted"]:
        for (kind, column), array in zip(KINDS.items(), arrays, strict=True):
            if array is not None:
                path = folder / kind / f"{row['case_id']}.npy"
                files.write_array(path, array)
                row[column] = files.sha256(path)
    if shown is not None:
        path = folder / PARTS / f"{row['case_id']}.npy"
        files.write_array(path, np.stack(shown))
        record["shown_sha256"] = files.sha256(path)
    record["row"] = row
    record["digest"] = files.digest(record, _LENGTH)
    files.write_json(folder / PARTS / f"{row['case_id']}.json", record)
    return row, shown


def _read_part(folder: Path, case_id: str, key: str) -> Part | None:
    """Reads the part of a volume; None if there is none that is whole, of this key and with its arrays."""
    try:
        record = files.read_json(folder / PARTS / f"{case_id}.json")
        if record.pop("digest") != files.digest(record, _LENGTH) or record["key"] != key:
            return None
        row = record["row"]
        sums = {folder / kind / f"{case_id}.npy": row[column] for kind, column in KINDS.items() if column in row}
        shown = folder / PARTS / f"{case_id}.npy" if "shown_sha256" in record else None
        if shown is not None:
            sums[shown] = record["shown_sha256"]
        if any(files.sha256(path) != checksum for path, checksum in sums.items()):
            return None
        return row, None if shown is None else np.load(shown, allow_pickle=False)
    except (OSError, FewSliceError, ValueError, TypeError, KeyError, AttributeError):  # missing or damaged
        return None


def _tidy(folder: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Removes arrays that other attempts wrote, and halves of files. What cannot be removed is harmless."""
    leftover = list(folder.glob(".*.tmp*"))
    for kind, column in KINDS.items():
        kept = {f"{row['case_id']}.npy" for row in rows if column in row}
        if not kept:
            shutil.rmtree(folder / kind, ignore_errors=True)
        leftover += [path for path in (folder / kind).glob("*") if path.name not in kept]
    for path in leftover:
        with contextlib.suppress(OSError):
            path.unlink()
