"""Which patients train, validate and test: tables of patient ids, looked up by key and combination."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from fewslice.core.errors import ConfigError
from fewslice.core.registry import unknown_name

ANY = "*"  # combination name of lists that are the same for every combination
Table = Mapping[str, Mapping[str, tuple[str, ...]]]


@dataclass(frozen=True)
class Splits:
    """The split lists of one dataset. All ids are patient ids, as strings ("002", not 2).

    Args:
        train: Key ("tr1", "tr8", "tr52", ...) -> combination ("c1", ... or "*" for any) -> patient ids.
        val: The same keys -> combination -> patient ids that choose the checkpoint. They count as labels. With an empty
            list the last checkpoint counts.
        test: Patient ids that nothing but the final evaluation may read.
        unlabeled: Keys of `train` whose lists are for pretraining without labels. Only these may contain
            validation patients.
    """

    train: Table
    val: Table
    test: tuple[str, ...]
    unlabeled: tuple[str, ...] = ()
    dataset: str = ""

    def train_ids(self, key: str, comb: str, *, prefix: str = "") -> tuple[str, ...]:
        """Returns the training patients. An unknown key or comb raises `ConfigError` with the nearest one.

        Args:
            key: For instance "tr1".
            comb: For instance "c1".
            prefix: Of the flags that gave them, for the message: "pretr_", "unl_".
        """
        return self._look_up("train", self.train, key, comb, prefix=prefix)

    def val_ids(self, key: str, comb: str) -> tuple[str, ...]:
        """Returns the validation patients. An unknown key or comb raises `ConfigError` like `train_ids`."""
        return self._look_up("val", self.val, key, comb)

    def test_ids(self) -> tuple[str, ...]:
        """Returns the test patients. Raises `ConfigError` if the dataset has none."""
        if not self.test:
            raise ConfigError(f"The table `test` of data_cfg_{self.dataset}.py is empty: there is nothing to test on.")
        return self.test

    def labelled_keys(self) -> list[str]:
        """Returns the keys of the lists for labelled training, in the order of the file."""
        return [key for key in self.train if key not in self.unlabeled]

    def _look_up(self, name: str, table: Table, key: str, comb: str, *, prefix: str = "") -> tuple[str, ...]:
        where = f" (table `{name}` of experiment_init/data_cfg_{self.dataset}.py)"
        if key not in table:
            raise ConfigError(unknown_name(f"split --{prefix}no_of_tr_imgs", key, table) + where)
        combinations = table[key]
        if comb in combinations:
            return combinations[comb]
        if ANY in combinations and comb != ANY:
            return combinations[ANY]
        raise ConfigError(unknown_name(f"combination --{prefix}comb_tr_imgs of {key}", comb, combinations) + where)


def freeze_table(table: Mapping[str, Mapping[str, Iterable[str]]]) -> Table:
    """Returns a read-only copy of a split table with tuples of ids."""
    return MappingProxyType(
        {key: MappingProxyType({comb: tuple(ids) for comb, ids in combs.items()}) for key, combs in table.items()}
    )


def table_problems(name: str, table: Any) -> list[tuple[tuple[str, ...], str]]:
    """Returns the mistakes in the form of one split table, as (place in the table, message) pairs.

    Args:
        name: "train", "val" or "test".
        table: What the user's module holds: nested dicts of id lists, or one list for "test".
    """
    if name == "test":
        return [((name,), problem) for problem in _list_problems("`test`", table)]
    if not isinstance(table, Mapping):
        return [((name,), f"`{name}` must be a dict: key -> combination -> list of ids. Received: {table!r:.80}")]
    if name == "train" and not table:
        return [((name,), "`train` must hold at least one key with one list of ids. Received: {}")]
    problems: list[tuple[tuple[str, ...], str]] = []
    for key, combinations in table.items():
        names = (key, *(combinations if isinstance(combinations, Mapping) else ()))
        problems += [
            ((name, str(key)), f"`{name}`: keys and combinations are texts, in quotes. Received: {one!r:.80}")
            for one in names
            if not isinstance(one, str)
        ]
        if not isinstance(combinations, Mapping) or not combinations:
            text = f"`{name}[{key!r}]` must be a dict: combination -> list of ids. Received: {combinations!r:.80}"
            problems.append(((name, str(key)), text))
            continue
        for comb, ids in combinations.items():
            problems += [
                ((name, str(key), str(comb)), text) for text in _list_problems(f"`{name}[{key!r}][{comb!r}]`", ids)
            ]
    return problems


def _list_problems(label: str, ids: Any) -> list[str]:
    if isinstance(ids, str) or not isinstance(ids, Sequence):
        return [f"{label} must be a list of patient ids. Received: {ids!r:.80}"]
    problems = []
    if not ids and label.startswith("`train"):
        problems.append(f"{label} is empty. Name at least one patient or remove the line.")
    for identifier in ids:
        if not isinstance(identifier, str):
            problems.append(f"{label}: ids are strings, in quotes. Received: {identifier!r:.80}")
        elif not identifier.strip() or identifier != identifier.strip():
            problems.append(f"{label}: an id is empty or has blanks around it. Received: {identifier!r}")
    seen = [identifier for identifier in ids if isinstance(identifier, str)]
    twice = sorted({identifier for identifier in seen if seen.count(identifier) > 1})
    if twice:
        problems.append(f"{label}: each id may be listed once. Twice or more: {', '.join(twice)}")
    return problems


def overlap_problems(splits: Splits) -> list[tuple[tuple[str, ...], str]]:
    """Returns every overlap of train, val and test by patient, as (place in the table, message) pairs.

    Validation patients inside the lists named in `splits.unlabeled` are no problem here; a labelled training
    on such a list is refused by `check_labeled_split`.
    """
    problems: list[tuple[tuple[str, ...], str]] = []
    for name, table in (("train", splits.train), ("val", splits.val)):
        for key, combinations in table.items():
            for comb, ids in combinations.items():
                shared = _shared(ids, splits.test)
                if shared:
                    text = f"`{name}[{key!r}][{comb!r}]` and `test` share patients {', '.join(shared)}"
                    problems.append(((name, key, comb), f"{text}. Test patients may be listed in `test` only."))
    for key, combinations in splits.train.items():
        if key in splits.unlabeled or key not in splits.val:
            continue
        for comb in sorted(set(combinations) | set(splits.val[key])):
            shared = _shared(_pick(combinations, comb), _pick(splits.val[key], comb))
            if shared:
                lists = f"`train[{key!r}][{comb!r}]` and `val[{key!r}][{comb!r}]`"
                text = f"{lists} share patients {', '.join(shared)}"
                remedy = f"Remove them from one, or name {key!r} in `unlabeled` if it serves pretraining only."
                problems.append((("train", key, comb), f"{text}. {remedy}"))
    return problems


def val_patients(splits: Splits) -> set[str]:
    """Returns every patient that validates some labelled training (lists of unlabelled keys do not count)."""
    tables = (combs for key, combs in splits.val.items() if key not in splits.unlabeled)
    return {identifier for combs in tables for ids in combs.values() for identifier in ids}


def _pick(combinations: Mapping[str, tuple[str, ...]], comb: str) -> tuple[str, ...]:
    return combinations.get(comb, combinations.get(ANY, ()))


def _shared(first: Iterable[str], second: Iterable[str]) -> list[str]:
    return sorted(set(first) & set(second))
