"""What of a finished run was changed or lost is known."""

import os

import pytest

from qcrd_jax import sums
from qcrd_jax.runs import sealing
from tests.support.small_grid import leave_run


@pytest.fixture
def finished(tmp_path):
    leave_run(tmp_path, ['a', 'b'], right=1)
    (tmp_path / 'votes.jsonl').write_text('{}')
    sums.update(tmp_path, ['votes.jsonl'])
    sealing.seal(tmp_path)
    return tmp_path


def test_digests_are_of_the_results_that_are_there_beside_others(finished):
    assert sums.read(finished).keys() == {'votes.jsonl', 'predictions.jsonl', 'summary.json'}
    assert sealing.faults(finished) == []
    (finished / 'votes.jsonl').write_text('')  # no result
    assert sealing.faults(finished) == []


@pytest.mark.parametrize('name', ['predictions.jsonl', 'summary.json'])
def test_a_result_that_was_changed_or_lost_is_named(finished, name):
    os.truncate(finished / name, 9)
    assert sealing.faults(finished) == [f'{name!r} was changed']
    (finished / name).unlink()
    assert sealing.faults(finished) == [f'{name!r} is missing']


def test_damaged_digests_are_a_fault(finished):
    (finished / sums.NAME).write_bytes(b'\0')
    (fault,) = sealing.faults(finished)
    assert 'SHA256SUMS, line 1' in fault


def test_a_run_is_finished_once_its_summary_is_listed(tmp_path):
    leave_run(tmp_path, ['a'])
    assert sealing.faults(tmp_path) is None  # as an earlier version left it
    sealing.seal(tmp_path, sealing.RESULTS[:-1])
    assert sealing.faults(tmp_path) == ["'summary.json' is not listed"]
    sealing.seal(tmp_path, [sealing.SUMMARY])
    assert sealing.faults(tmp_path) == []
    (tmp_path / 'scores.json').write_text('{}')
    assert sealing.faults(tmp_path) == ["'scores.json' is not listed"]
