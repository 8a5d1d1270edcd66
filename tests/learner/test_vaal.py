"""Scores of VAAL. Expected values: loops of tests/reference/vaal.py, and the same training without interruption."""

from __future__ import annotations

import dataclasses
import shutil

import keras
import numpy as np
import pytest

from fewslice.core import backend, checkpoint
from fewslice.core.errors import ConfigError, DataError, TrainingError
from fewslice.core.options import checked_options, options_of
from fewslice.learner.vaal import VaalOptions
from fewslice.learner.vaal import training as vaal
from fewslice.learner.vaal.training import SCORES, STATE, train_vaal
from tests.reference import vaal as reference
from tests.train_model import tiny

TINY = VaalOptions(width=2, latent_dim=3, batch_size=6, num_epochs=3)
LABELLED = np.arange(14) < 4


@pytest.fixture(scope="module", autouse=True)
def _eager():
    """A training of a few steps is quicker without tracing."""
    with tiny.quick_networks():
        yield


@pytest.fixture(scope="module", name="images")
def _images():
    images = np.random.default_rng(0).random((14, 32, 32, 1)).astype(np.float32)
    images[9:] += 1.0
    return images


def weights_of(model):
    return [np.array(keras.ops.convert_to_numpy(variable)) for variable in model.trainable_variables]


def differ(first, second):
    return any((one != two).any() for one, two in zip(first, second, strict=True))


@pytest.fixture(scope="module", name="trained")
def _trained(images, tmp_path_factory):
    """Trains 7 iterations; keeps a copy of the state after 4, as a kill would leave it."""
    folder = tmp_path_factory.mktemp("calm")
    cut = tmp_path_factory.mktemp("cut")
    save = checkpoint.save_state

    def keep(path, arrays, record):
        save(path, arrays, record)
        shutil.copy(path, cut / STATE)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "save_state", keep)
        scores = train_vaal(folder, images, LABELLED, options=TINY, seed=3, save_every=4)
    return folder, cut, scores


def test_scores_are_one_minus_belief_and_the_state_goes(trained):
    folder, _, scores = trained
    assert scores.shape == (14,) and scores.dtype == np.float64
    assert ((scores > 0) & (scores < 1)).all() and len(set(scores)) == 14
    assert [path.name for path in folder.glob("vaal*")] == [SCORES]


def test_an_interrupted_training_ends_as_the_other(images, trained):
    _, cut, scores = trained
    assert checkpoint.load_state(cut / STATE)[1]["iteration"] == 4
    with backend.precision("mixed_bfloat16"):  # of the experiment's networks; VAAL's scores are not made equal by it
        resumed = train_vaal(cut, images, LABELLED, options=TINY, seed=3)
    np.testing.assert_array_equal(resumed, scores)


def test_a_finished_one_is_not_repeated(images, trained, monkeypatch):
    folder, _, scores = trained
    monkeypatch.setattr(vaal, "_Training", None)
    np.testing.assert_array_equal(train_vaal(folder, images, LABELLED, options=TINY, seed=3), scores)
    with pytest.raises(DataError, match="expected: seed 4\n.*found: +seed 3\n.*Use another folder"):
        train_vaal(folder, images, LABELLED, options=TINY, seed=4)


@pytest.mark.parametrize("targets", ["corrected", "published"])
def test_one_step_of_each_network(images, targets):
    options = dataclasses.replace(TINY, vae_steps_per=1, adversary_param=0.5, vae_beta=2.0)
    options = dataclasses.replace(options, discriminator_targets=targets)
    training = vaal._Training(images, LABELLED, options=options, seed=3)
    assert training.iterations == 7 and training.sizes == [4, 6]
    batch, noise = training._batch(0), training._noise(0)
    assert sorted(batch[:4].sum((1, 2, 3)).tolist()) == sorted(images[:4].sum((1, 2, 3)).tolist())
    rebuilt, mean, log_variance = (np.array(x) for x in training.vae([batch, noise], training=True))
    judged = np.array(training.critic(mean))
    expected = sum(
        reference.vae_loss(*(x[part] for x in (batch, rebuilt, mean, log_variance)), 2.0)
        + 0.5 * reference.likelihood(judged[part], 1.0)
        for part in (slice(0, 4), slice(4, 10))
    )
    before = [weights_of(model) for model in (training.vae, training.critic, training.discriminator)]
    seen = []
    train = training.discriminator.train_on_batch
    training.discriminator.train_on_batch = lambda *args, **named: seen.append(args[0]) or train(*args, **named)
    first, second = training.step()
    assert first == pytest.approx(expected, rel=1e-4)
    # the discriminator as it was, on the means that it was given
    means = np.array(seen[0])
    logits = np.maximum(np.maximum(means @ before[2][0] + before[2][1], 0) @ before[2][2] + before[2][3], 0)
    logits = logits @ before[2][4] + before[2][5]
    other = 0.0 if targets == "corrected" else 1.0
    expected = reference.likelihood(logits[:4], 1.0) + reference.likelihood(logits[4:], other)
    assert second == pytest.approx(expected, rel=1e-4)
    after = [weights_of(model) for model in (training.vae, training.critic, training.discriminator)]
    assert differ(before[0], after[0]) and differ(before[2], after[2])
    assert training.critic.trainable_variables == [] and not training.critic.trainable
    np.testing.assert_array_equal(training.critic.get_weights()[0], after[2][0])


def test_batches_are_reshuffled_passes_over_each_group(images):
    training = object.__new__(vaal._Training)
    training.images, training.seed, training._passes = np.arange(14.0)[:, None], 3, {}
    training.groups, training.sizes = (np.flatnonzero(LABELLED), np.flatnonzero(~LABELLED)), [4, 5]
    rows = [training._batch(number)[:, 0].astype(int).tolist() for number in range(4)]
    for batch in rows:
        assert sorted(batch[:4]) == [0, 1, 2, 3]
    assert sorted(rows[0][4:] + rows[1][4:]) == sorted(rows[2][4:] + rows[3][4:]) == list(range(4, 14))
    assert rows[0][4:] != rows[2][4:] and rows[0][:4] != rows[1][:4]
    assert training._batch(1)[:, 0].astype(int).tolist() == rows[1]


def test_a_loss_that_is_no_number_stops(images, tmp_path, monkeypatch):
    monkeypatch.setattr(vaal._Training, "step", lambda self: (float("nan"), 0.0))
    with pytest.raises(TrainingError, match="NaN loss of VAAL at iteration 0"):
        train_vaal(tmp_path, images, LABELLED, options=TINY)


def test_mistakes(images, tmp_path):
    for labelled in (np.zeros(14, bool), np.ones(14, bool)):
        with pytest.raises(ConfigError, match="at least one of each.*Begin with a round of another strategy"):
            train_vaal(tmp_path, images, labelled, options=TINY)
    with pytest.raises(ConfigError, match=r"multiples of 32. Found: \(32, 24, 1\)"):
        train_vaal(tmp_path, images[:, :, :24], LABELLED, options=TINY)
    with pytest.raises(ConfigError, match="(?s)num_epochs.*must be.*discriminator_targets.*Did you mean 'published'"):
        checked_options("option", options_of(VaalOptions), {"num_epochs": 0, "discriminator_targets": "publish"})
