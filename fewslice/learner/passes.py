"""Passes of networks over cases, whole slices or overlapping windows of a volume: score maps, mean probabilities.

The passes of all networks over a batch are reduced to running sums before the next batch is read: memory grows neither
with the pool nor with the passes, and with the networks only where each is scored by itself. Probabilities are
averaged, not logits. What comes before the first dropout of a network is computed once for all passes over a batch.

Source: Gal et al., 2017, https://arxiv.org/abs/1703.02910; ensembles as in Vepa et al., 2024,
https://arxiv.org/abs/2411.15763.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence

import keras
import numpy as np

import models
from fewslice.active.uncertainty import PassStatistics
from fewslice.core.errors import ConfigError, FewSliceError
from fewslice.core.progress import Progress
from fewslice.train.predict import padded_batches, sliding_window, softmax, window_starts

_STATE = "seed_generator_state"
Maps = Iterator[list[dict[str, np.ndarray]]]
Pass = Callable[[int], np.ndarray]  # its number -> answer


class Passes:
    """A network without active dropout: all its passes are the same.

    Args:
        network: Images (batch, *space, channel) -> logits (batch, *space, class).
    """

    def __init__(self, network: keras.Model | Callable[[np.ndarray], np.ndarray]):
        self._call = network.predict_on_batch if isinstance(network, keras.Model) else network

    def __call__(self, images: np.ndarray, batch: int, number: int) -> np.ndarray:
        """Returns the logits of pass `number` over batch `batch`."""
        return self.over(images, batch)(number)

    def over(self, images: np.ndarray, batch: int) -> Pass:
        """Returns the function number of a pass -> logits of a batch; what all passes share is computed once, now."""
        del batch
        return lambda number: self._call(images)


class DropoutPasses(Passes):
    """A network with active dropout whose answer is a function of seed, number of the batch and pass.

    Keras keeps the random state of a dropout layer in a variable: a seed and how often it was drawn from. Both are set
    before every call, from the seed, the place of the layer, batch and pass. So repeated scoring gives the same numbers
    as long as the batches are the same (`batch_size`, and the images before).

    Args:
        network: Images (batch, *space, channel) -> logits (batch, *space, class), with layers that drop at inference
            too, for instance of `models.dropping`.

    Raises:
        ConfigError: a network without a random layer.
    """

    def __init__(self, network: keras.Model, *, seed: int = 0):
        self._seed = seed
        self._states = [variable for variable in network.variables if variable.path.split("/")[-1] == _STATE]
        if not self._states:
            raise ConfigError(f"The network {network.name!r} has no dropout, so that all its passes are the same.")
        first, rest = models.split_at_dropout(network) or (None, network)
        self._first, self._rest = first.predict_on_batch if first else lambda images: images, rest.predict_on_batch

    def over(self, images: np.ndarray, batch: int) -> Pass:
        maps = keras.tree.map_structure(keras.ops.convert_to_tensor, self._first(images))

        def ask(number: int) -> np.ndarray:
            for layer, state in enumerate(self._states):
                seed = np.random.SeedSequence([self._seed, layer, batch, number]).generate_state(1)[0]
                state.assign(np.array([seed, 0], keras.backend.standardize_dtype(state.dtype)))
            return self._rest(maps)

        return ask


Member = Passes


def slice_maps(
    members: Sequence[Member],
    images: Sequence[np.ndarray],
    names: Sequence[str],
    *,
    passes: int = 1,
    is_joint: bool = True,
    batch_size: int = 16,
) -> Maps:
    """Yields the score maps of each case, of networks that see whole slices.

    Batches run through the slices of all cases one after the other. In memory are the maps of the cases of a batch.

    Args:
        members: The networks of an ensemble, or one. Every call has `batch_size` slices of one size; the last batch of
            neighbouring cases of one size ends in zeros.
        images: (slices, rows, columns, channels) of each case.
        names: Registered scores of passes (`fewslice.active.uncertainty`).
        passes: Calls of each network per batch; more than 1 makes sense for `DropoutPasses` only.
        is_joint: Whether one score is made of the mean over networks and passes; otherwise each network has its own.
        batch_size: Slices at a time.

    Yields:
        For each case a list of one, or of one for each network: name -> (slices, rows, columns) map.

    Raises:
        ConfigError: unknown score; no network; passes of a network without active dropout; what is no logits.
        FewSliceError: logits that are not finite, with the place of the slice.
    """
    _check(members, passes, names)
    waiting: list[list[dict[str, np.ndarray]]] = []  # maps of scored slices of unfinished cases
    lengths, start = [len(image) for image in images], 0
    with Progress(sum(lengths), "Scoring the pool") as line:
        for batch, (filled, count) in enumerate(padded_batches(itertools.chain.from_iterable(images), batch_size)):

            def over(member: Member, filled=filled, batch=batch, count=count, start=start) -> Pass:
                ask = member.over(filled, batch)
                return lambda number: softmax(_checked(ask(number)[:count], "slice", start))

            sums = _reduced(members, names, passes, is_joint, over)
            start += count
            waiting.append([statistics.maps() for statistics in sums])
            while lengths and sum(len(maps[0][names[0]]) for maps in waiting) >= lengths[0]:
                together = [
                    {name: np.concatenate([maps[voice][name] for maps in waiting]) for name in names}
                    for voice in range(len(sums))
                ]
                depth = lengths.pop(0)
                yield [{name: values[:depth] for name, values in maps.items()} for maps in together]
                left = [{name: values[depth:] for name, values in maps.items()} for maps in together]
                waiting = [left] if len(left[0][names[0]]) else []
            line.update(count)


def window_maps(
    members: Sequence[Member],
    images: Sequence[np.ndarray],
    names: Sequence[str],
    *,
    window: tuple[int, int, int],
    passes: int = 1,
    is_joint: bool = True,
    batch_size: int = 2,
) -> Maps:
    """Yields the score maps of each case, of networks that see 3D windows, which overlap by half.

    The probabilities of the windows are averaged for each pass. In memory are the running sums of one case.

    Args, Yields, Raises: as `slice_maps`; `window` are the voxels of a window, `batch_size` windows at a time.
    """
    _check(members, passes, names)
    first = 0  # number of the batch that a case begins with, the same for every network and pass
    with Progress(len(images), "Scoring the pool") as line:
        for case, image in enumerate(images):

            def ask(member: Member, number: int, case=case, image=image, first=first) -> np.ndarray:
                batches = itertools.count(first)

                def call(windows: np.ndarray) -> np.ndarray:
                    return _checked(member(windows, next(batches), number), "volume", case, step=0)

                return sliding_window(call, image, window, batch_size=batch_size)[None]

            sums = _reduced(members, names, passes, is_joint, lambda member, ask=ask: functools.partial(ask, member))
            yield [{name: values[0] for name, values in statistics.maps().items()} for statistics in sums]
            first += -(-len(window_starts(image.shape[:3], window)) // batch_size)
            line.update(1)


def _reduced(
    members: Sequence[Member],
    names: Sequence[str],
    passes: int,
    is_joint: bool,
    over: Callable[[Member], Pass],
) -> list[PassStatistics]:
    """Returns the sums over all passes of all networks, or of each network; `over` gives a network's probabilities."""
    sums = [PassStatistics(names) for _ in range(1 if is_joint else len(members))]
    for place, member in enumerate(members):
        ask = over(member)
        for number in range(passes):
            sums[0 if is_joint else place].update(ask(number))
    return sums


def mean_over_passes(member: Member, passes: int, *, of_logits: bool = False) -> Callable[[np.ndarray], np.ndarray]:
    """Returns the function (slices, rows, columns, channels) -> mean class probabilities over passes of a network.

    Slices are asked one by one, so that volumes may differ in size. In memory is the sum of one slice's passes.

    Args:
        of_logits: Whether the logits are averaged, not the probabilities.
    """

    def predict(images: np.ndarray) -> np.ndarray:
        found = []
        for place, image in enumerate(np.asarray(images, np.float32)):
            ask = member.over(image[None], place)
            values = (np.asarray(ask(number), np.float32) for number in range(passes))
            mean = sum(values if of_logits else map(softmax, values)) / np.float32(passes)
            found.append(softmax(mean) if of_logits else mean)
        return np.concatenate(found)

    return predict


def _check(members: Sequence[Member], passes: int, names: Sequence[str]) -> None:
    if not len(members):
        raise ConfigError("Scores need at least one network.")
    if passes > 1 and not all(isinstance(member, DropoutPasses) for member in members):
        raise ConfigError(
            f"A network without active dropout answers all {passes} passes alike. Take one that drops, or passes=1."
        )
    PassStatistics(names)  # refuses unknown names before a network is asked


def _checked(logits: np.ndarray, what: str, place: int, *, step: int = 1) -> np.ndarray:
    """Returns the logits as float32. Refuses bad ones, by the place of the slice or volume in the pool."""
    logits = np.asarray(logits, np.float32)
    if logits.ndim < 3 or logits.shape[-1] < 2:
        raise ConfigError(f"A network must give logits (batch, ..., class). Received: {logits.shape}")
    bad = np.flatnonzero(~np.isfinite(logits.reshape(len(logits), -1)).all(axis=1))
    if len(bad):
        raise FewSliceError(
            f"The network's answer to {what} {place + step * bad[0]} of the pool is not finite. Look at this image, or "
            "train the network with a lower learning rate."
        )
    return logits
