"""VAAL: an autoencoder and a discriminator trained against each other.

The autoencoder learns to reconstruct annotated slices and others and to make them look alike; the discriminator learns
to tell from the latent mean which are annotated. Slices that it takes for not annotated are worth annotating.

Source: Sinha et al., 2019, https://arxiv.org/abs/1904.00370, algorithm 1; settings of Vepa et al., 2024,
https://arxiv.org/abs/2411.15763.

Notes:
    Differs from the published code. There the discriminator learns towards 1 on units that are not annotated, too
    (`discriminator_targets="published"`). Annotated units and others were batches of their own, so that normalisation,
    not the images, told them apart; here they are normalised together. There the networks stay in training mode
    while scoring, so that a score depends on the others of its batch; here moving statistics are used. Batches are
    whole ones of reshuffled passes over the units.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
from absl import logging

import losses
from fewslice.core import backend, checkpoint, files
from fewslice.core.errors import ConfigError, DataError, TrainingError
from fewslice.core.locks import folder_lock
from fewslice.core.progress import Progress
from fewslice.learner.vaal import VaalOptions
from fewslice.train.callbacks import StopSignal
from fewslice.train.predict import padded_batches
from fewslice.train.trainer import Interrupted
from models.vaal import build_discriminator, build_vae, mean_part

STATE, SCORES = "vaal_state.npz", "vaal_scores.npz"
_NOISE = 2  # what a generator draws; 0 and 1 are the orders of annotated units and of others


def train_vaal(
    folder: Path,
    images: Sequence[np.ndarray],
    is_labelled: np.ndarray,
    *,
    options: VaalOptions | None = None,
    seed: int = 0,
    save_every: int = 100,
) -> np.ndarray:
    """Trains both networks and returns the (N,) float64 scores 1 - D of the latent mean; larger is less like annotated.

    A repeated call resumes, or reads the scores. Batches and noise are functions of seed and iteration, so that an
    interrupted training ends as an uninterrupted one. In memory are the networks with their optimisers' state (about
    350 MB as published) and two batches. The state is deleted once the scores are written.

    Args:
        folder: Of state and scores, one folder for each set of annotated units.
        images: (N, height, width, channel) float32 units, or a sequence of N that gives each; maybe memory-mapped.
            Sides are multiples of 32.
        is_labelled: (N,) bool, some true and some false.
        options: Settings; default: the published ones.
        seed: Of the initial weights, the batches and the noise.
        save_every: Iterations between two saves.

    Raises:
        ConfigError: no annotated unit, or no other; sides that do not fit.
        TrainingError: NaN loss.
        DataError: the saved state is damaged, or belongs to other settings or units.
        Interrupted: Ctrl-C or a termination signal; the state is saved.
    """
    options, labels = options or VaalOptions(), np.asarray(is_labelled)
    _check(images, labels)
    made_of = {
        "options": dataclasses.asdict(options),
        "seed": seed,
        "shape": [len(images), *images[0].shape],
        "labelled": files.digest(np.flatnonzero(labels)),
        "backend": keras.backend.backend(),
    }
    with folder_lock(folder):
        if (folder / SCORES).exists():
            arrays, record = checkpoint.load_arrays(folder / SCORES)
            _check_record(folder / SCORES, record["made of"], made_of)
            return arrays["scores"]
        with backend.precision("float32"):  # its scores are compared, and bfloat16 makes many of them equal
            training = _Training(images, labels, options=options, seed=seed)
        training.run(folder / STATE, made_of, save_every)
        scores = training.scores()
        checkpoint.save_arrays(folder / SCORES, {"scores": scores}, {"made of": made_of})
        for path in folder.glob(f"{Path(STATE).stem}*"):
            path.unlink()
    return scores


class _Training:
    """The networks, their steps and the state of the training."""

    def __init__(self, images: Sequence[np.ndarray], is_labelled: np.ndarray, *, options: VaalOptions, seed: int):
        self.images, self.options, self.seed, self.iteration = images, options, seed, 0
        self.iterations = max(1, options.num_epochs * len(images) // options.batch_size)
        self.groups = (np.flatnonzero(is_labelled), np.flatnonzero(~is_labelled))
        self.sizes = [min(options.batch_size, len(group)) for group in self.groups]
        self.shape = tuple(images[0].shape)
        self.vae = build_vae(self.shape, options.latent_dim, width=options.width, seed=seed)
        self.discriminator = build_discriminator(options.latent_dim, seed=seed)
        self.critic = build_discriminator(options.latent_dim, seed=seed)  # the autoencoder's frozen copy
        self.critic.trainable = False
        self.encoder = mean_part(self.vae)
        self.pair = self._pair()
        likelihood = keras.losses.BinaryCrossentropy(from_logits=True)
        jit = keras.backend.backend() == "jax"  # as in the stages
        self.discriminator.compile(self._adam(), loss=likelihood, jit_compile=jit)
        terms = [losses.Vae(options.latent_dim, options.vae_beta)] * 2 + [likelihood] * 2
        weights = [1.0, 1.0] + [options.adversary_param] * 2
        self.pair.compile(self._adam(), loss=terms, loss_weights=weights, jit_compile=jit)
        for model in (self.pair, self.discriminator):  # else the first step is traced twice
            model.optimizer.build(model.trainable_variables)
        self._passes: dict[tuple[int, int], np.ndarray] = {}

    def _adam(self) -> keras.optimizers.Optimizer:
        return keras.optimizers.Adam(self.options.learning_rate, epsilon=1e-8)

    def _pair(self) -> keras.Model:
        """Returns the autoencoder with the critic, annotated rows first: [image, noise] -> their four terms."""
        inputs = [keras.Input(self.shape, name="image"), keras.Input((self.options.latent_dim,), name="noise")]
        reconstruction, mean, log_variance = self.vae(inputs)
        flat = keras.layers.Flatten(name="flat")(reconstruction)
        outputs = [keras.layers.Concatenate(name="rebuilt")([flat, mean, log_variance]), self.critic(mean)]
        first = self.sizes[0]
        return keras.Model(inputs, [part for x in outputs for part in (x[:first, :], x[first:, :])], name="vaal")

    def run(self, path: Path, made_of: dict, save_every: int) -> None:
        self._restore(path, made_of)
        line = Progress(self.iterations, "VAAL")
        line.update(self.iteration)
        with StopSignal() as stop, line:
            while self.iteration < self.iterations:
                last = self.step()
                if not all(map(math.isfinite, last)):
                    raise TrainingError(
                        f"NaN loss of VAAL at iteration {self.iteration}. Lower its `learning_rate` or look at the "
                        "images; the last saved state is unharmed."
                    )
                self.iteration += 1
                line.update(1, "autoencoder {:.4g}, discriminator {:.4g}".format(*last))
                if stop.requested or (self.iteration % save_every == 0 and self.iteration < self.iterations):
                    self._save(path, made_of)
                if stop.requested:
                    raise Interrupted(f"Stopped after iteration {self.iteration} of {self.iterations} of VAAL.")

    def step(self) -> tuple[float, float]:
        """Trains for one iteration. Returns the last loss of each network."""
        steps = self.options.vae_steps_per, self.options.discriminator_steps_per
        ones, size = np.ones((sum(self.sizes), 1), np.float32), self.sizes[0]
        for index in range(steps[0]):
            images = self._batch(self.iteration * sum(steps) + index)
            targets = [part for x in (images.reshape(len(images), -1), ones) for part in (x[:size], x[size:])]
            logs = self.pair.train_on_batch([images, self._noise(index)], targets, return_dict=True)
            first = float(logs["loss"])
            self.pair.reset_metrics()
        other = float(self.options.discriminator_targets == "published")
        targets = np.repeat(np.array([1.0, other], np.float32), self.sizes)[:, None]
        # Each group counts by its mean: Keras divides the weighted sum by the number of rows.
        weights = np.repeat([sum(self.sizes) / size for size in self.sizes], self.sizes).astype(np.float32)
        for index in range(steps[0], sum(steps)):
            means = self.encoder(self._batch(self.iteration * sum(steps) + index), training=True)
            second = float(self.discriminator.train_on_batch(means, targets, weights, return_dict=True)["loss"])
            self.discriminator.reset_metrics()
        backend.synchronise(self.discriminator)
        self.critic.set_weights(self.discriminator.get_weights())
        return first, second

    def scores(self) -> np.ndarray:
        """Returns (N,) float64 1 - D, with the moving statistics."""
        inputs = keras.Input(self.shape)
        judge = keras.Model(inputs, self.discriminator(self.encoder(inputs)))
        size, count = self.options.batch_size, len(self.images)
        scores = np.empty(count)
        with Progress(count, "Scoring by VAAL", is_kept=False) as line:
            for filled, rows in padded_batches((self.images[row] for row in range(count)), size):
                logits = np.asarray(judge.predict_on_batch(filled), np.float64)[:rows, 0]
                scores[line.done : line.done + rows] = 0.5 - 0.5 * np.tanh(0.5 * logits)  # 1 - sigmoid
                line.update(rows)
        return scores

    def _batch(self, number: int) -> np.ndarray:
        """Returns the images of batch `number`, annotated ones first."""
        rows = []
        for kind, (group, size) in enumerate(zip(self.groups, self.sizes, strict=True)):
            turn, place = divmod(number, len(group) // size)
            key = (kind, turn)
            if key not in self._passes:
                self._passes = {known: order for known, order in self._passes.items() if known[0] != kind}
                self._passes[key] = np.random.default_rng([self.seed, kind, turn]).permutation(group)
            rows.append(self._passes[key][place * size : (place + 1) * size])
        return np.stack([np.asarray(self.images[row], np.float32) for row in np.concatenate(rows)])

    def _noise(self, index: int) -> np.ndarray:
        rng = np.random.default_rng([self.seed, _NOISE, self.iteration, index])
        return rng.standard_normal((sum(self.sizes), self.options.latent_dim), np.float32)

    def _variables(self) -> dict[str, keras.Variable]:
        return {
            f"{name}/{index:04d}": variable
            for name, model in (("pair", self.pair), ("discriminator", self.discriminator))
            for index, variable in enumerate([*model.weights, *model.optimizer.variables])
        }

    def _save(self, path: Path, made_of: dict) -> None:
        for model in (self.pair, self.discriminator):
            backend.synchronise(model)
        arrays = {name: keras.ops.convert_to_numpy(variable) for name, variable in self._variables().items()}
        checkpoint.save_state(path, arrays, {"iteration": self.iteration, "made of": made_of})

    def _restore(self, path: Path, made_of: dict) -> None:
        loaded = checkpoint.load_state(path)
        if loaded is None:
            return
        arrays, record, damaged = loaded
        for text in damaged:
            logging.warning("Damaged state, resuming from the one before: %s", text)
        _check_record(path, record["made of"], made_of)
        for name, variable in self._variables().items():
            variable.assign(arrays[name])
        self.iteration = record["iteration"]
        logging.info("VAAL resumes after iteration %d of %d.", self.iteration, self.iterations)


def _check(images: Sequence[np.ndarray], is_labelled: np.ndarray) -> None:
    if is_labelled.shape != (len(images),) or is_labelled.dtype != bool:
        raise ValueError(f"`is_labelled` must be ({len(images)},) bool. Received: {is_labelled.shape}")
    if not is_labelled.any() or is_labelled.all():
        raise ConfigError(
            "VAAL learns to tell annotated units from others and needs at least one of each. Found: "
            f"{is_labelled.sum()} of {len(is_labelled)} annotated. Begin with a round of another strategy, for "
            "instance random."
        )
    sides = images[0].shape[:2]
    if images[0].ndim != 3 or any(side < 32 or side % 32 for side in sides):
        raise ConfigError(
            "VAAL needs images (rows, columns, channels) with sides that are multiples of 32. Found: "
            f"{tuple(images[0].shape)}"
        )


def _check_record(path: Path, stored: dict, made_of: dict) -> None:
    differing = [name for name in made_of if stored.get(name) != made_of[name]]
    if differing:
        raise DataError(
            path,
            expected=", ".join(f"{name} {made_of[name]}" for name in differing),
            found=", ".join(f"{name} {stored.get(name)}" for name in differing),
            remedy="Use another folder, or delete this one to start afresh.",
        )
