"""The trainer on a network of two layers: stopping, resuming, NaN, damage, full disk.

Expected values: an undisturbed run of the same settings.
"""

from __future__ import annotations

import csv
import dataclasses
import itertools
import math
import os
import resource
import signal
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from fewslice.core import checkpoint, files
from fewslice.core.errors import ConfigError, DataError, FewSliceError, TrainingError
from fewslice.core.run import Run
from fewslice.train import pace, trainer
from fewslice.train.callbacks import MovingAverage
from fewslice.train.trainer import Interrupted, Plan, Trainer
from models import transfer
from tests.train_model import tiny


def network(width=3):
    inputs = keras.Input((4,))
    x = keras.layers.Dense(width, kernel_initializer=keras.initializers.GlorotUniform(1), name="first")(inputs)
    x = keras.layers.Dropout(0.3, seed=2, name="drop")(x)
    outputs = keras.layers.Dense(1, kernel_initializer=keras.initializers.GlorotUniform(3), name="last")(x)
    model = keras.Model(inputs, outputs)
    model.compile(keras.optimizers.Adam(0.05), loss="mse")
    return model


def make_batch(step):
    inputs = np.random.default_rng([7, step]).standard_normal((8, 4)).astype(np.float32)
    return inputs, inputs.sum(axis=1, keepdims=True)


class Session:
    """One command: a new network in the run directory below `root`."""

    def __init__(self, root, *, n_iter=8, segment=3, batch=make_batch, width=3, scored=True, **options):
        self.run = Run(root, "toy", "stage", "m", {"seed": 0}, n_iter=n_iter)
        self.model = network(width)
        self.validations = 0

        def validate():
            self.validations += 1
            weights = np.abs(self.model.get_weights()[0])
            return {"val_dice": float(weights.mean())}

        plan = Plan(
            make_batch=batch,
            describe_batch=lambda step: [{"case_id": f"case {step}"}],
            n_iter=n_iter,
            segment=segment,
            validate=validate if scored else None,
            **options,
        )
        self.trainer = Trainer(self.run, self.model, plan)

    def train(self):
        with self.run:
            self.trainer.train()
        return self

    def arrays(self, name="last.npz"):
        return checkpoint.load_arrays(self.run.checkpoints / name)

    def log(self):
        with open(self.run.logs / "train.csv", newline="") as file:
            return [
                {k: v for k, v in row.items() if k not in ("seconds", "steps_per_s")} for row in csv.DictReader(file)
            ]


def assert_same(one, other):
    assert one.log() == other.log()
    for name in ("last.npz", "best.npz"):
        (a, record), (b, expected) = one.arrays(name), other.arrays(name)
        assert record == expected and a.keys() == b.keys()
        for key in a:
            np.testing.assert_array_equal(a[key], b[key])


def stopping(number, *signals):
    """Returns a `make_batch` that sends signals, else one SIGINT, to this process when step `number` is prepared."""

    def make(step):
        if step == number:
            for each in signals or (signal.SIGINT,):
                os.kill(os.getpid(), each)
        return make_batch(step)

    return make


@pytest.fixture(scope="module", autouse=True)
def quick_networks():
    with tiny.quick_networks():
        yield


@pytest.fixture(scope="module")
def calm(tmp_path_factory):
    return Session(tmp_path_factory.mktemp("calm")).train()


def test_log_and_files(calm):
    assert [row["step"] for row in calm.log()] == ["3", "6", "8"]
    assert calm.arrays()[1] == {"step": 8, "run": calm.run.digest}
    assert calm.validations == 3
    best = max(calm.log()[:2], key=lambda row: float(row["val_dice"]))
    assert calm.arrays("best.npz")[1] == {
        "step": int(best["step"]), "val_dice": float(best["val_dice"]), "run": calm.run.digest
    }  # fmt: skip


def test_the_loss_column_is_the_mean_of_the_losses_of_the_steps(tmp_path):
    model, losses = network(), []
    for step in range(3):
        losses.append(float(model.train_on_batch(*make_batch(step))))
        model.reset_metrics()
    session = Session(tmp_path, n_iter=3).train()
    assert float(session.log()[0]["loss"]) == pytest.approx(np.mean(losses))


@pytest.mark.parametrize(("step", "name"), [(0, "SIGINT"), (4, "SIGTERM"), (7, "SIGINT")])
def test_a_signal_saves_and_resumes_exactly(calm, tmp_path, step, name):
    before = signal.getsignal(signal.SIGINT)
    session = Session(tmp_path, batch=stopping(step, getattr(signal, name)))
    with pytest.raises(Interrupted, match=r"Stopped after step \d+ of 8; everything is saved"):
        session.train()
    assert signal.getsignal(signal.SIGINT) is before
    assert 0 < session.trainer.step <= step + 1
    assert_same(Session(tmp_path).train(), calm)


def test_ctrl_c_at_every_step(calm, tmp_path, monkeypatch):
    from fewslice.train.callbacks import StopSignal

    monkeypatch.setattr(StopSignal, "__enter__", lambda self: setattr(self, "requested", True) or self)
    for done in range(1, 9):
        with pytest.raises(Interrupted, match=f"after step {done} of 8"):
            Session(tmp_path).train()
    monkeypatch.undo()
    assert_same(Session(tmp_path).train(), calm)


def test_second_ctrl_c_stops_at_once(calm, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        Session(tmp_path, batch=stopping(4, signal.SIGINT, signal.SIGINT)).train()
    assert_same(Session(tmp_path).train(), calm)


def test_average_continues_exactly(tmp_path):
    calm = Session(tmp_path / "calm", average_decay=0.8).train()
    with pytest.raises(Interrupted):
        Session(tmp_path / "cut", average_decay=0.8, batch=stopping(4)).train()
    assert_same(Session(tmp_path / "cut", average_decay=0.8).train(), calm)
    raw = Session(tmp_path / "raw").train()
    assert np.abs(raw.arrays()[0]["first/kernel"] - calm.arrays()[0]["first/kernel"]).max() > 1e-4
    assert {"val_dice", "val_dice_raw"} <= set(calm.log()[0])


def test_average_by_hand(tmp_path):
    session = Session(tmp_path, n_iter=3, segment=3, average_decay=0.2)
    model = network()
    average = [np.array(w) for w in model.get_weights()]
    for step in range(3):
        model.train_on_batch(*make_batch(step))
        decay = min(0.2, (2 + step) / (11 + step))  # 2/11, 3/12 -> .2, .2
        average = [decay * a + (1 - decay) * w for a, w in zip(average, model.get_weights(), strict=True)]
    arrays = session.train().arrays()[0]
    np.testing.assert_allclose(arrays["first/kernel"], average[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(session.model.get_weights()[0], model.get_weights()[0], rtol=1e-5, atol=1e-6)


def test_average_equals_numpy_bit_for_bit():
    """float32 throughout, one rounding for each subtraction, product and sum."""
    model = network()
    variables = transfer.named_variables(model)
    expected = transfer.read_weights(model)
    average = MovingAverage(variables, 0.5, transfer.read_weights(model))
    for step in range(1, 12):
        model.train_on_batch(*make_batch(step))
        average.update(step)
        rate = np.float32(1.0 - min(0.5, (1.0 + step) / (10.0 + step)))
        for name, value in transfer.read_weights(model).items():
            expected[name] += rate * (value - expected[name])
    for name, value in average.arrays().items():
        assert value.dtype == np.float32
        np.testing.assert_array_equal(value, expected[name])
    assert np.abs(expected["first/kernel"] - transfer.read_weights(model)["first/kernel"]).max() > 1e-4


@pytest.mark.parametrize("first", [2, 3, 4, 6])
def test_extension_equals_a_longer_run(calm, tmp_path, first):
    short = Session(tmp_path, n_iter=first).train()
    if first == 2:  # before the first regular validation
        assert short.arrays("best.npz")[1]["step"] == 2, "the only validation chooses"
    assert_same(Session(tmp_path).train(), calm)


@pytest.mark.parametrize(("can_be_extended", "best"), [(False, 8), (True, 6)])
def test_the_last_step_can_be_the_best_where_a_run_ends_there(tmp_path, can_be_extended, best):
    session = Session(tmp_path, can_be_extended=can_be_extended)
    trainer = session.trainer
    trainer.plan = dataclasses.replace(trainer.plan, validate=lambda: {"val_dice": trainer.step / 8})
    record = session.train().arrays("best.npz")[1]
    assert record == {"step": best, "val_dice": best / 8, "run": session.run.digest}


def test_another_column_and_direction_choose(tmp_path):
    session = Session(tmp_path, chooses="val_loss")
    trainer = session.trainer
    values = {3: 0.5, 6: 0.5, 8: 0.7}
    validate = lambda: {"val_dice": trainer.step, "val_loss": values[trainer.step]}  # noqa: E731
    trainer.plan = dataclasses.replace(trainer.plan, validate=validate)
    assert session.train().arrays("best.npz")[1] == {"step": 6, "val_loss": 0.5, "run": session.run.digest}
    assert trainer.load("best.npz")[1]["step"] == 6


def test_fewer_steps_than_saved(tmp_path):
    with pytest.raises(Interrupted):
        Session(tmp_path, batch=stopping(5)).train()
    with pytest.raises(ConfigError, match="trained for . steps, more than the 1 asked for now.*move that folder"):
        Session(tmp_path, n_iter=1).train()


def test_nan_loss_stops_with_step_and_batch(calm, tmp_path):
    def broken(step):
        inputs, targets = make_batch(step)
        return inputs, targets * (np.nan if step == 4 else 1)

    session = Session(tmp_path, batch=broken)
    with pytest.raises(TrainingError, match=r"NaN loss at step 4\..*nan_step_000004\.json"):
        session.train()
    record = files.read_json(session.run.logs / "nan_step_000004.json")
    assert record == {"step": 4, "batch": [{"case_id": "case 4"}]}
    arrays, state, _ = checkpoint.load_state(session.run.checkpoints / "state.npz")
    assert state["step"] == 3 and all(np.isfinite(array).all() for array in arrays.values())
    with pytest.raises(TrainingError, match="step 4"):
        Session(tmp_path, batch=broken).train()
    assert_same(Session(tmp_path).train(), calm)


def test_validation_without_a_number(tmp_path):
    session = Session(tmp_path)
    plan = session.trainer.plan
    object.__setattr__(plan, "validate", lambda: {"val_dice": math.nan})
    session.train()
    (best, record), (last, _) = session.arrays("best.npz"), session.arrays()
    assert record["step"] == session.trainer.tracker.best_step == 8
    assert all((best[name] == last[name]).all() for name in last), "nothing chooses, so the last weights are the best"
    assert Session(tmp_path, n_iter=9).train().arrays("best.npz")[1]["step"] == 9, "the first number always counts"


def test_damaged_state_falls_back(calm, tmp_path, caplog):
    with pytest.raises(Interrupted):
        Session(tmp_path, batch=stopping(7)).train()
    folder = tmp_path / "toy" / "stage"
    (state,) = folder.glob("*/checkpoints/state.npz")
    content = bytearray(state.read_bytes())
    content[len(content) // 2] ^= 1
    state.write_bytes(content)
    assert_same(Session(tmp_path).train(), calm)


def test_both_states_damaged(tmp_path):
    with pytest.raises(Interrupted):
        Session(tmp_path, batch=stopping(7)).train()
    for state in (tmp_path / "toy" / "stage").glob("*/checkpoints/state*.npz"):
        state.write_bytes(b"")
    with pytest.raises(DataError, match="which keeps its weights"):
        Session(tmp_path).train()


@pytest.mark.parametrize("differs", ["network", "data"])
def test_state_of_another_network_or_other_data(tmp_path, differs):
    with pytest.raises(Interrupted):
        Session(tmp_path, batch=stopping(5)).train()
    session = Session(tmp_path, width=4 if differs == "network" else 3)
    if differs == "data":
        session.run.digest = "of other annotations"
    with pytest.raises(DataError, match="another one's: annotations"):
        session.train()


def test_full_disk_gives_one_message_and_continues(calm, tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    def full(step):
        if step == 4:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1024, hard))
        return make_batch(step)

    session = Session(tmp_path, batch=full)
    try:
        with pytest.raises(FewSliceError, match="Cannot write .*Free some space"):
            session.train()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert checkpoint.load_state(session.run.checkpoints / "state.npz")[1]["step"] == 3
    assert_same(Session(tmp_path).train(), calm)


def test_monitor_without_validation(tmp_path):
    session = Session(tmp_path, n_iter=3, scored=False, monitor=lambda: {"effective_rank": 2.5}).train()
    assert session.log() == [{"step": "3", "loss": session.log()[0]["loss"], "effective_rank": "2.5"}]
    assert not (session.run.checkpoints / "best.npz").exists()


def foreign(path, **changes):
    """Writes the weights of another network under a record with `changes`."""
    arrays, record = checkpoint.load_arrays(path)
    record = {name: value for name, value in {**record, **changes}.items() if value is not None}
    checkpoint.save_arrays(path, {name: value + 1 for name, value in arrays.items()}, record)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"run": "0123456789"}, "run 0123456789 and not"),
        ({"step": 3}, "step 3 and not 6"),
        ({"val_dice": 0.125}, "val_dice 0.125 and not"),
        ({"run": None, "val_dice": 0.125}, "val_dice 0.125 and not"),  # written by an older version
    ],
)
def test_best_weights_of_another_training_are_refused(tmp_path, changes, words):
    """Training is finished, and its evaluation outstanding."""
    session = Session(tmp_path, n_iter=6)
    steps = iter((0.2, 0.4))
    session.trainer.plan = dataclasses.replace(session.trainer.plan, validate=lambda: {"val_dice": next(steps)})
    path = session.train().run.checkpoints / "best.npz"
    assert session.trainer.load("best.npz")[1]["step"] == 6
    foreign(path, **changes)
    with pytest.raises(DataError, match=words):
        session.trainer.load("best.npz")
    with pytest.raises(DataError, match=words):
        Session(tmp_path, n_iter=6).train()


def test_best_weights_are_missing(tmp_path):
    session = Session(tmp_path).train()
    path = session.run.checkpoints / "best.npz"
    path.rename(tmp_path / "kept.npz")
    for again in (lambda: session.trainer.load("best.npz"), Session(tmp_path).train, Session(tmp_path, n_iter=9).train):
        with pytest.raises(DataError, match=r"best.npz\n.*weights of step .\n.*no such file\n.*Restore it"):
            again()
    (tmp_path / "kept.npz").rename(path)
    assert Session(tmp_path).train().trainer.load("best.npz")[1] == session.arrays("best.npz")[1]


def test_a_state_of_another_run_of_equal_labels_is_refused(tmp_path):
    """Members of two experiments can have the same digest of labels."""
    session = Session(tmp_path).train()
    arrays, record, _ = checkpoint.load_state(session.run.checkpoints / "state.npz")
    checkpoint.save_state(session.run.checkpoints / "state.npz", arrays, {**record, "run": "0123456789"})
    with pytest.raises(DataError, match="another one's"):
        Session(tmp_path).train()


@pytest.fixture
def half_second_steps(monkeypatch, caplog):
    """A clock on which every step takes half a second, and validations no time."""
    caplog.set_level("INFO", "absl")
    clock = itertools.count()
    monkeypatch.setattr(pace, "time", SimpleNamespace(perf_counter=lambda: 0.5 * next(clock)))
    monkeypatch.setattr(trainer, "time", SimpleNamespace(perf_counter=lambda: 0.0))


def test_hours_become_steps_once(tmp_path, half_second_steps, caplog):
    first = Session(tmp_path / "timed", n_iter=8, segment=10, hours=0.005)
    first.train()
    assert first.run.n_iter == first.trainer.step == 30  # 18 s of 0.5 s each, whole segments
    assert "--hours=0.005: 0.5 s a step" in caplog.text and "so 30 steps" in caplog.text
    again = Session(tmp_path / "timed", n_iter=8, segment=10, hours=0.005)
    assert again.train().trainer.step == 30 and not again.trainer._pace.seconds
    assert_same(again, Session(tmp_path / "counted", n_iter=30, segment=10).train())
    assert files.read_json(first.run.dir / "config.json")["n_iter"] == 30


@pytest.mark.parametrize(("segment", "hours", "steps"), [(100, 1e-9, 14), (100, 0.003, 21), (1, 1e-9, 14)])
def test_hours_that_end_before_the_first_validation_or_soon_after(tmp_path, half_second_steps, segment, hours, steps):
    session = Session(tmp_path, segment=segment, hours=hours).train()
    assert session.trainer.step == session.run.n_iter == steps


def test_interrupted_hours_are_measured_again_until_they_are_written_down(tmp_path, half_second_steps, monkeypatch):
    with pytest.raises(Interrupted, match=r"after step \d+; everything"):
        Session(tmp_path, segment=10, hours=0.005, batch=stopping(3)).train()
    assert not (Session(tmp_path).run.logs / pace.RECORD).exists()
    session = Session(tmp_path, segment=10, hours=0.005)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):  # killed as soon as they are
        patch.setattr(session.run, "write_config", lambda: (_ for _ in ()).throw(KeyboardInterrupt))
        session.train()
    monkeypatch.setattr(pace, "steps_for", lambda *_, **__: pytest.fail("measured again"))
    assert Session(tmp_path, segment=10, hours=0.005).train().trainer.step == 30


def test_a_long_training_names_a_shorter_choice(tmp_path, half_second_steps, caplog, monkeypatch):
    monkeypatch.setenv("FEWSLICE_CHAIN", "20000 steps")
    with pytest.raises(Interrupted):
        Session(tmp_path, n_iter=10001, segment=50, batch=stopping(40)).train()
    assert (
        "0.5 s a step: about 1 h 23 min for the 9987 steps left of 10001, validations and test beside. Shorter: "
        "Ctrl-C, and the same command with --hours=0.25, which all its trainings share. About 4 h 9 min of the chain "
        "at this pace."
    ) in caplog.text
    alone = pace.estimate(0.5, 9987, 10001, 50, following=None, more="", can_be_chosen=True)
    assert alone.endswith("--hours=0.25 or --n_iter=1800, which take about 15 min 0 s in all.")


def test_a_short_training_says_nothing(tmp_path, caplog):
    Session(tmp_path, n_iter=20, segment=20).train()
    assert "a step:" not in caplog.text


def test_a_rate_that_falls_does_so_from_segment_to_segment_and_after_a_resume(tmp_path, monkeypatch):
    """(1 - step / 8)^0.9 of 0.05 at steps 0, 3 and 6; a run that was stopped and resumed has the same weights."""
    rates, real = [], trainer.Trainer._segment

    def noting(self, stop):
        real(self, stop)
        rates.append(float(self.model.optimizer.learning_rate))

    monkeypatch.setattr(trainer.Trainer, "_segment", noting)
    whole = Session(tmp_path / "whole", decays=True).train()
    np.testing.assert_allclose(rates, [0.05 * (1 - step / 8) ** 0.9 for step in (0, 3, 6)], rtol=1e-6)
    interrupted = Session(tmp_path / "parts", decays=True)
    monkeypatch.setattr(interrupted.trainer, "_segment", lambda stop: (real(interrupted.trainer, stop), kill())[0])
    with pytest.raises(KeyboardInterrupt):
        interrupted.train()
    resumed = Session(tmp_path / "parts", decays=True).train()
    for name, array in whole.arrays()[0].items():
        np.testing.assert_array_equal(resumed.arrays()[0][name], array)


def kill():
    raise KeyboardInterrupt


def test_last_weights_count_as_the_best_if_asked(tmp_path):
    session = Session(tmp_path, keeps_last=True).train()
    best, last = session.arrays("best.npz"), session.arrays("last.npz")
    assert best[1]["step"] == last[1]["step"] == 8
    for name, array in last[0].items():
        np.testing.assert_array_equal(best[0][name], array)
    assert all(0 < float(row["val_dice"]) for row in session.log())  # validation is in the log all the same
