"""Names that may belong to one patient: visits, dates, sides, phases and contrasts in the names of volumes."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping

from absl import logging

from fewslice.core.errors import few
from fewslice.data.readers.base import Reader
from fewslice.settings.datasets import PATIENT_PATTERN, DatasetConfig, patient_of

BIDS_PATTERN = r"(sub-[^_]+)(?:_.*)?"
Groups = Mapping[str, list[str]]  # what names have in common -> those names, sorted

_SEP = r"[\W_]"
_MONTH, _DAY, _YEAR = "(?:0[1-9]|1[0-2])", "(?:0[1-9]|[12][0-9]|3[01])", "(?:19|20)[0-9]{2}"
_MONTH_NAME = "(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*"
_DATE = (
    f"{_YEAR}(?:[-_.]?{_MONTH}(?:[-_.]?{_DAY}(?:[-_.]?t?[0-9]{{4,6}})?)?)?|{_DAY}[-_.]?{_DAY}[-_.]?{_YEAR}"
    f"|(?:{_DAY}[-_.]?)?{_MONTH_NAME}[-_.]?(?:19|20)?[0-9]{{2}}|{_YEAR}[-_.]?{_MONTH_NAME}(?:[-_.]?{_DAY})?"
)
_COUNTED = (
    "scan|exam|sess?(?:ion)?|vis(?:it)?|time(?:point)?|tp|follow[-_]?up|fup?|re(?:scan|test|peat|p)|run|frame|phase|"
    "slice|echo|month|mo|week|wk|day|year|yr"
)
_NAMED = (
    "base(?:line)?|bl|before|after|initial|final|first|second|third|left|right|lt|rt|od|os|ed|es|(?:in|ex)hale|"
    "(?:insp|exp)(?:iration)?|links|rechts|gauche|droite|izq(?:uierd[ao])?|der(?:ech[ao])?|sx|dx|"
    "art(?:erial)?|portal|ven(?:ous)?|ap|pvp|dp|"
    "(?:pre|post)(?:[-_]?(?:op|rt|tx|treatment|therapy|contrast|surgery))?|(?:end[-_]?)?(?:sys|dias)tol(?:e|ic)|"
    "t[12](?:w|c|ce|gd|map)?|flair|adc|dwi|cbct|ct|mri?|pet"
)
_UID = r"[0-9]+(?:\.[0-9]+){5,}"  # of DICOM
_WORD = f"(?:{_COUNTED})(?:[-_]?[0-9]{{1,4}}[dwmy]?)?|(?:{_NAMED})[0-9]?"
_VISIT = re.compile(
    f"^(?:{_NAMED}|fup?|[lr])(?=[0-9]{{2}})"
    f"|(?:^|{_SEP})(?:{_UID}|{_DATE}|{_WORD}|[lrt][0-9]{{0,4}}|v[0-9]{{1,4}}|d[0-9]{{4}})(?={_SEP}|$)"
    f"|(?<=[0-9])(?:{_SEP}(?:[vsmwdy][0-9]{{1,4}}|[a-d])|[vt][0-9]{{1,4}}|{_WORD})(?={_SEP}|$)"
    "|^[tv][0-9](?=[a-z])",
    re.IGNORECASE,
)
_SHORT_DATE = re.compile(f"(.*[0-9]){_SEP}[0-9]{{2}}{_MONTH}{_DAY}(?:{_SEP}.*)?")
_LAST_PART = re.compile(rf"(.*[^\W_]){_SEP}+[^\W_]+{_SEP}*")
_LAST_LETTER = re.compile(r"(.*[0-9])(?:[vtsmwdy][0-9]{1,4}|[^\W\d_]+)", re.IGNORECASE)
_LAST_CAPITAL = re.compile(r"(.*[^\W_])[A-Z][a-z]+")
_LAST_NUMBER = re.compile(r"(.*[^\W\d_])[0-9]+")
_FIRST_PART = re.compile(r"(?:.+?[\W_]+|[^\W\d_]*[0-9]+(?=[^\W\d_])|[^\W\d_]+)(.*[0-9].*)")
_LONG_NUMBER = re.compile(rf"((?:.*?[^.\d])?[0-9]{{5,}}){_SEP}.*")
# Patterns that a message proposes: the first that makes the groups.
_PROPOSALS = (
    r"([^_]+).*", r"([^-]+).*", r"([^ ]+).*", r"(.+)_[^_]+", r"(.+)-[^-]+", r"[^_]+_(.+)", r".*_([^_]+)", r"(.*?\d+).*",
    r".*?(\d+)\D*", r"(.*\d)\D+", r"(.*[a-z])\d+",
    *(rf"((?:[^_]+_){{{count}}}[^_]+).*" for count in (1, 2, 3)),
)  # fmt: skip


def question(stems: Iterable[str]) -> str:
    """Returns a question about file stems that may belong to one patient, with both answers; "" if there are none."""
    patients = {stem: patient_of(stem) or stem for stem in sorted(stems)}
    groups = alike(patients.values())
    if not groups:
        return ""
    key_of = {name: key for key, names in groups.items() for name in names}
    wanted = _grouped(patients, lambda stem: key_of.get(patients[stem], patients[stem]))
    fitting = [pattern for pattern in _PROPOSALS if _makes(pattern, wanted)]
    proposal = f"'{fitting[0]}'" if fitting else "... (for the whole name; its first group is the patient)"
    alone = f"{PATIENT_PATTERN}$" if len(set(patients.values())) < len(patients) else "(.+)"
    lines = [f"  {key}: {few(names, 4)}" for key, names in wanted.items() if len(names) > 1]
    lines[8:] = [f"  and {len(lines) - 8} more"] if len(lines) > 8 else []
    return "\n".join([
        "These names may be volumes of one patient (visits, dates, sides, phases), which must not stand in two lists:",
        *lines,
        f"If each line is one patient, repeat the command with\n  --patient_pattern={proposal}",
        f"If each name is a patient of its own, with\n  --patient_pattern='{alone}'",
    ])  # fmt: skip


def doubt(dataset: DatasetConfig, names: Iterable[str]) -> str:
    """Returns a note on names that share their end or beginning and count as patients of their own; "" if none do."""
    names = sorted({*names}) if dataset.patient_pattern == PATIENT_PATTERN else []
    for part in (_FIRST_PART, _LAST_PART):  # ctrl_01 and pat_01; site1_0713 and site1_0815
        groups = _grouped(names, _before(part)).items()
        shared = [group for key, group in groups if len(group) > 1 and re.search("[0-9]", key)]
        if len(shared) > 1:
            text = f"{few(shared[0], 3)} count as patients of their own, and so do {len(shared) - 1} more such groups"
            return f"{text}. If they are volumes of one, give --patient_pattern (docs/data.md)"
    return ""


def notes(reader: Reader, training: Iterable[str], validation: Iterable[str]) -> Iterator[str]:
    """Yields a note for each group of names that may be one patient and stand in several lists, the test list included.

    A dataset with a `patient_pattern` of its own has answered the question. One whose lists name images gets one note.
    """
    dataset = reader.dataset
    roles = {"training": {*training}, "validation": {*validation}, "test": {*dataset.splits.test}}
    groups = alike(set().union(*roles.values())) if dataset.patient_pattern == PATIENT_PATTERN else {}
    for names in groups.values():
        found = {role: sorted(ids.intersection(names)) for role, ids in roles.items()}
        told = [f"{role}: {few(ids, 3)}" for role, ids in found.items() if ids]
        if len(told) > 1:
            yield (
                f"these names may be one patient, who then stands in several lists ({'; '.join(told)}). Put them into "
                "one list, or set `patient_pattern` in the init file."
            )
    lists_of: dict[str, dict[str, str]] = {}
    for case in reader.cases():
        for role in (role for role, ids in roles.items() if case.patient_id in ids):
            lists_of.setdefault(reader.person(case), {}).setdefault(role, case.patient_id)
    if shared := {person: found for person, found in lists_of.items() if len({*found.values()}) > 1}:
        first, found = min(shared.items())
        named = ", ".join(f"{role}: {name}" for role, name in found.items())
        yield (
            f"{len(shared)} of {len(lists_of)} patients have images in several lists, such as {first} "
            f"({named}). Scores may be better than on new patients."
        )


def warn_of_shared_names(reader: Reader, training: Iterable[str], validation: Iterable[str]) -> None:
    """Logs the `notes` of a training, each once."""
    for note in notes(reader, training, validation):
        _warn(reader.dataset.name, note)


@functools.lru_cache  # a study prepares many experiments on one dataset
def _warn(dataset: str, note: str) -> None:
    logging.warning("%s: %s", dataset, note)


def alike(names: Iterable[str]) -> Groups:
    """Returns the groups of two and more names that may be one patient, {} for plain running numbers."""
    names, found = sorted(set(names)), {}
    for key_of, is_likely in _RULES:
        groups = _grouped(names, key_of)
        # case_1999 beside case_2500 is no year
        alone = [group[0] for group in groups.values() if len(group) == 1]
        counted = {match[1].lower() for name in alone if (match := re.fullmatch(f"(.+){_SEP}[0-9]+", name))}
        shared = {key: group for key, group in groups.items() if len(group) > 1 and key not in counted}
        if shared and is_likely(groups, shared):
            for name in alone:  # p01_x beside p01_v1 and p01_v2
                heads = (name[: mark.start()].lower() for mark in re.finditer(_SEP, name))
                shared.get(next((head for head in heads if head in shared), ""), []).append(name)
            done = set().union(*found.values())
            new = {key: sorted({*group} - done) for key, group in shared.items()}
            found = {key: group for key, group in new.items() if len(group) > 1} | found
    return found


def _head(name: str) -> str:
    """What stands before the first word or date of a visit, if it has a number."""
    head = _VISIT.split(name)[0]
    return head if re.search("[0-9]", head) else _rest(name)


def _rest(name: str) -> str:
    """What is left without the words and dates of visits; of followup_01 the number."""
    rest = re.sub(f"^{_SEP}+|{_SEP}+$", "", _VISIT.sub("", name))
    number = re.sub(f"^[^0-9]*{_SEP}(?=[0-9])", "", name)
    return rest or (number if number == name else _rest(number))


def _before(pattern: re.Pattern) -> Callable[[str], str]:
    return lambda name: match[1] if (match := pattern.fullmatch(name)) else name


def _has_number(groups: Groups) -> bool:
    return any(re.search("[0-9]", key) for key in groups)


def _has_head(groups: Groups) -> bool:
    """Whether a name is the beginning of the others of its group: p01, p01_2."""
    return any(key in map(str.lower, names) for key, names in groups.items())


def _repeats(groups: Groups, shared: Groups) -> bool:
    """Whether there are more groups than parts in one, and the same few parts occur again and again."""
    ends = [name[len(key) :] for key, names in shared.items() for name in names if len(name) > len(key)]
    largest = max(map(len, groups.values()))
    is_small = len(groups) > largest or (_has_number(shared) and len(groups) > 2 and largest <= 10)
    return is_small and (2 * len(set(ends)) <= len(ends) or _has_head(shared))


_RULES = (  # what names of one patient share; when that is likely, given all groups and those of several names
    (_head, lambda groups, shared: len(groups) > 1),  # p01_ses-02_T1w, p01_2019-03-12
    (_rest, lambda groups, shared: len(groups) > 1 or _has_number(shared)),  # left_01, smith_baseline
    (_before(_SHORT_DATE), lambda groups, shared: not _has_head(groups)),  # p01_190312
    (_before(_LAST_PART), _repeats),  # p01_1, BraTS-GLI-00000-001
    (_before(_LONG_NUMBER), lambda groups, shared: len(groups) > 1),  # 1810111_67390467
    (lambda name: re.split(_SEP, name)[0], _repeats),  # 1000015_20208_2_0
    (_before(_LAST_LETTER), lambda groups, shared: 2 * len(shared) >= len(groups) > 1 or _has_head(shared)),  # p01L
    (_before(_LAST_CAPITAL), _repeats),  # PatABefore
    (_before(_LAST_NUMBER), lambda groups, shared: 2 * len(shared) > len(groups) and _repeats(groups, shared)),  # joe1
    (lambda name: re.sub("(?<![0-9])0+(?=[0-9])", "", name), lambda groups, shared: True),  # p1, p01
)


def _makes(pattern: str, groups: Groups) -> bool:
    found: dict[str | None, list[str]] = {}
    for name in (name for names in groups.values() for name in names):
        found.setdefault(patient_of(name, pattern), []).append(name)  # Smith and smith are two
    return {*map(frozenset, found.values())} == {*map(frozenset, groups.values())}


def _grouped(names: Iterable[str], key_of: Callable[[str], str | None]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault((key_of(name) or name).lower(), []).append(name)
    return groups
