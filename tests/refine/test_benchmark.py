"""The benchmark of the dense CRF at tiny size: it runs, and both direct evaluations compute what ours does."""

import dataclasses

import pytest

from benchmarks import dense_crf
from fewslice.refine.dense_crf import parameter_set


@pytest.mark.parametrize("plain", [dense_crf.windows, dense_crf.pairwise], ids=lambda plain: plain.__name__)
@pytest.mark.parametrize("name", ["published", "corrected"])
def test_direct_evaluation_is_ours(plain, name):
    parameters = dataclasses.replace(parameter_set(name), iterations=3)
    times, difference = dense_crf.measure(plain, parameters, 14, seconds=0, most=1, warm_up=0)
    assert [len(entry.cpu) for entry in times.values()] == [1, 1]
    assert difference < 5e-3  # windows leave out what lies beyond 3 sigma
