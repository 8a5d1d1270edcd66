"""SIGKILL in joint training: the same command again ends with the same weights and pseudo-labels, bit for bit.

Expected values: a run of the same settings that nobody disturbed.
"""

from __future__ import annotations

import random

import pytest

from tests.train_model import tiny
from tests.train_model.test_kill import RANDOM, assert_killed_and_equal, chain, jobs_of

# Pseudo-labels are made before step 1 and after step 4.
JOINT = (
    ("in pseudo-labels", 1),
    ("before the round is complete", 0),
    ("before the state", 1),  # 2 steps are saved; the best weights may be those of step 4 already
    (RANDOM, "before the state", 0),
    ("in the test", 1),
)


@pytest.mark.slow
def test_killed_joint_training_continues_bit_for_bit(tmp_path, tiny_root, with_baseline):
    delay = random.uniform(0.5, 4)
    jobs = []
    for name, moments in (("calm", ()), ("killed", JOINT)):
        runs = with_baseline(tmp_path / name)
        jobs += jobs_of(tiny.JOINT, tiny.arguments(tiny.JOINT, runs), moments, delay)
    statuses, errors = chain(tmp_path, tiny_root, jobs)
    told = f"{statuses} random: {delay:.2f} s\n{errors}"
    assert statuses[0] == 0 and statuses[-1] == 0, told
    one, other = assert_killed_and_equal(tmp_path, tiny.JOINT, statuses[1:-1], JOINT, told)
    for path in sorted((one / "pseudo_labels").rglob("*.npy")):
        assert path.read_bytes() == (other / path.relative_to(one)).read_bytes()
