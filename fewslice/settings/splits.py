"""Which patients train, validate and test: tables of patient ids, looked up by key and combination."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from fewslice.core.errors import ConfigError
from fewslice.core.registry import unknown_name

ANY = "*"  # combination name of lists that are the same for every combination
Table = Mapping[str, Mapping[str, tuple[str, ...]]]
Problem = tuple[tuple[str, ...], str]  # place in the table, message


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


def table_problems(name: str, table: Any) -> Iterator[Problem]:
    """Yields the mistakes in the form of one split table, as (place in the table, message) pairs.

    Args:
        name: "train", "val" or "test".
        table: What the user's module holds: nested dicts of id lists, or one list for "test".
    """
    if name == "test":
        yield from _list_problems((name,), "`test`", table)
    elif not isinstance(table, Mapping):
        yield (name,), f"`{name}` must be a dict: key -> combination -> list of ids. Received: {table!r:.80}"
    elif name == "train" and not table:
        yield (name,), "`train` must hold at least one key with one list of ids. Received: {}"
    else:
        for key, combinations in table.items():
            yield from _key_problems(name, key, combinations)


def _key_problems(name: str, key: Any, combinations: Any) -> Iterator[Problem]:
    place, is_table = (name, str(key)), isinstance(combinations, Mapping)
    for one in (key, *(combinations if is_table else ())):
        if not isinstance(one, str):
            yield place, f"`{name}`: keys and combinations are texts, in quotes. Received: {one!r:.80}"
    if not is_table or not combinations:
        yield place, f"`{name}[{key!r}]` must be a dict: combination -> list of ids. Received: {combinations!r:.80}"
        return
    for comb, ids in combinations.items():
        yield from _list_problems((*place, str(comb)), f"`{name}[{key!r}][{comb!r}]`", ids)


def _list_problems(place: tuple[str, ...], label: str, ids: Any) -> Iterator[Problem]:
    if isinstance(ids, str) or not isinstance(ids, Sequence):
        yield place, f"{label} must be a list of patient ids. Received: {ids!r:.80}"
        return
    if not ids and place[0] == "train":
        yield place, f"{label} is empty. Name at least one patient or remove the line."
    for identifier in ids:
        if not isinstance(identifier, str):
            yield place, f"{label}: ids are strings, in quotes. Received: {identifier!r:.80}"
        elif not identifier.strip() or identifier != identifier.strip():
            yield place, f"{label}: an id is empty or has blanks around it. Received: {identifier!r}"
    seen = [identifier for identifier in ids if isinstance(identifier, str)]
    if twice := sorted({identifier for identifier in seen if seen.count(identifier) > 1}):
        yield place, f"{label}: each id may be listed once. Twice or more: {', '.join(twice)}"


def overlap_problems(splits: Splits) -> Iterator[Problem]:
    """Yields every overlap of train, val and test by patient, as (place in the table, message) pairs.

    Validation patients inside the lists named in `splits.unlabeled` are no problem here; a labelled training
    on such a list is refused by `check_labeled_split`.
    """
    for name, table in (("train", splits.train), ("val", splits.val)):
        for key, combinations in table.items():
            for comb, ids in combinations.items():
                if shared := sorted(set(ids) & set(splits.test)):
                    text = f"`{name}[{key!r}][{comb!r}]` and `test` share patients {', '.join(shared)}"
                    yield (name, key, comb), f"{text}. Test patients may be listed in `test` only."
    for key, combinations in splits.train.items():
        if key in splits.unlabeled or key not in splits.val:
            continue
        for comb in sorted(set(combinations) | set(splits.val[key])):
            train, val = (table.get(comb, table.get(ANY, ())) for table in (combinations, splits.val[key]))
            if shared := sorted(set(train) & set(val)):
                lists = f"`train[{key!r}][{comb!r}]` and `val[{key!r}][{comb!r}]`"
                text = f"{lists} share patients {', '.join(shared)}"
                remedy = f"Remove them from one, or name {key!r} in `unlabeled` if it serves pretraining only."
                yield ("train", key, comb), f"{text}. {remedy}"


def val_patients(splits: Splits) -> set[str]:
    """Returns every patient that validates some labelled training (lists of unlabelled keys do not count)."""
    tables = (combs for key, combs in splits.val.items() if key not in splits.unlabeled)
    return {identifier for combs in tables for ids in combs.values() for identifier in ids}
