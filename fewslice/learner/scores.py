"""How unsure networks are about each unit of a pool, in one pass over the images.

Images come one by one, the passes of all networks over a batch are reduced to running sums before the next batch is
read: memory grows neither with the pool nor with the number of passes, and with that of networks only where each is
scored by itself. Probabilities are averaged, not logits.

Source: Gal et al., 2017, https://arxiv.org/abs/1703.02910; ensembles as in Vepa et al., 2024,
https://arxiv.org/abs/2411.15763.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence

import keras
import numpy as np

from fewslice.active.uncertainty import COMBINES, PassStatistics, mean_over_members
from fewslice.core.errors import ConfigError, FewSliceError
from fewslice.core.progress import Progress
from fewslice.core.registry import unknown_name
from fewslice.train.predict import padded_batches, softmax

_STATE = "seed_generator_state"


class DropoutPasses:
    """A network with active dropout whose answer is a function of the seed, the batch's number and the pass.

    Keras keeps the random state of a dropout layer in a variable: a seed and how often it was drawn from. Both are set
    anew before every call, from the seed, the place of the layer, batch and pass. So scoring that is repeated gives the
    same numbers, whatever was computed with the network before, as long as the batches are the same (`batch_size`, and
    the units before).

    Args:
        network: Images (batch, height, width, channel) -> logits (batch, height, width, class), with layers that drop
            at inference too, for instance of `models.dropout_part`.
        seed: Of the passes.

    Raises:
        ConfigError: a network without a random layer.
    """

    def __init__(self, network: keras.Model, *, seed: int = 0):
        self._network, self._seed = network, seed
        self._states = [variable for variable in network.variables if variable.path.split("/")[-1] == _STATE]
        if not self._states:
            raise ConfigError(f"The network {network.name!r} has no dropout, so that all its passes are the same.")

    def __call__(self, images: np.ndarray, batch: int, number: int) -> np.ndarray:
        """Returns the logits of pass `number` over batch `batch`."""
        for layer, state in enumerate(self._states):
            seed = np.random.SeedSequence([self._seed, layer, batch, number]).generate_state(1)[0]
            state.assign(np.array([seed, 0], keras.backend.standardize_dtype(state.dtype)))
        return self._network.predict_on_batch(images)


Network = keras.Model | DropoutPasses | Callable[[np.ndarray], np.ndarray]


def pool_scores(
    networks: Sequence[Network],
    images: Iterable[np.ndarray],
    names: Sequence[str],
    *,
    passes: int = 1,
    batch_size: int = 16,
    region: str = "all",
    combine: str = "mean_probabilities",
) -> dict[str, np.ndarray]:
    """Returns the scores of every unit, larger is more uncertain.

    Args:
        networks: The members of an ensemble, or one: models or functions, images (batch, height, width, channel) ->
            logits (batch, height, width, class). Every call has `batch_size` images; the last batch ends in zeros.
        images: (height, width, channel) float32 of each unit: an array, another sequence, or an iterator.
        names: Registered scores (`fewslice.active.uncertainty`).
        passes: Calls of each network per batch; more than 1 makes sense for `DropoutPasses` only.
        batch_size: Units at a time.
        region: "all" pixels of a slice, or the predicted "foreground".
        combine: "mean_probabilities": the score of the mean over members and passes. "mean_scores": each member's score
            of the mean over its passes, then the mean over members.

    Returns:
        name -> (N,) float64, in the order of the images.

    Raises:
        ConfigError: unknown score, region or combination; no network; passes of a network that always answers the same.
        FewSliceError: logits that are not finite, with the unit's place.
    """
    _check(networks, passes, combine, batch_size)
    members = [member if isinstance(member, DropoutPasses) else _plain(member) for member in networks]
    is_joint = combine == COMBINES[0]
    found: dict[str, list[np.ndarray]] = {name: [] for name in names}
    PassStatistics(names, region=region)  # refuses unknown names before a network is asked
    start = 0
    with Progress(_length(images), "Scoring the pool") as line:
        for batch, (filled, count) in enumerate(padded_batches(images, batch_size)):
            sums = [PassStatistics(names, region=region) for _ in range(1 if is_joint else len(members))]
            for (place, member), number in itertools.product(enumerate(members), range(passes)):
                logits = np.asarray(member(filled, batch, number)[:count], np.float32)
                _check_logits(logits, start)
                sums[0 if is_joint else place].update(softmax(logits))
            scores = [one.finish() for one in sums]
            for name, values in found.items():
                values.append(mean_over_members([score[name] for score in scores]))
            start += count
            line.update(count)
    return {name: np.concatenate(values) if values else np.empty(0) for name, values in found.items()}


def _plain(network: keras.Model | Callable) -> Callable[[np.ndarray, int, int], np.ndarray]:
    call = network.predict_on_batch if isinstance(network, keras.Model) else network
    return lambda images, batch, number: call(images)


def _length(images: Iterable[np.ndarray]) -> int:
    return len(images) if hasattr(images, "__len__") else 0


def _check(networks: Sequence[Network], passes: int, combine: str, batch_size: int) -> None:
    if not len(networks):
        raise ConfigError("Scores need at least one network.")
    if combine not in COMBINES:
        raise ConfigError(unknown_name("combine", combine, COMBINES))
    if passes < 1 or batch_size < 1:
        raise ConfigError(
            f"`passes` and `batch_size` must be at least 1. Received: passes={passes}, batch_size={batch_size}"
        )
    if passes > 1 and any(isinstance(member, keras.Model) for member in networks):
        raise ConfigError(
            f"A network without active dropout answers all {passes} passes alike. Give `DropoutPasses`, or passes=1."
        )


def _check_logits(logits: np.ndarray, start: int) -> None:
    if logits.ndim < 3 or logits.shape[-1] < 2:
        raise ConfigError(f"A network must give logits (batch, ..., class). Received: {logits.shape}")
    bad = np.flatnonzero(~np.isfinite(logits.reshape(len(logits), -1)).all(axis=1))
    if len(bad):
        raise FewSliceError(
            f"The network's answer to unit {start + bad[0]} of the pool is not finite. Look at this image, or train "
            "the network with a lower learning rate."
        )
