"""Batches made ahead: which, how many, and what becomes of errors and of the thread."""

import threading
import time

import numpy as np
import pytest

from qcrd_jax.data.lengths import Lengths
from qcrd_jax.runs.prefetch import Prefetched


class Stream:
    """Remembers which steps were asked for."""

    def __init__(self, fails_at=None):
        self.asked, self.fails_at = [], fails_at

    largest = Lengths(1, 1, 1, 1, 1)

    def __getitem__(self, step):
        raise NotImplementedError

    def fitted(self, step):
        self.asked.append(step)
        if step == self.fails_at:
            raise OSError('the disk is gone')
        return {'ids': np.array([step])}


class Programs:
    """What is prepared of batches; nothing is compiled."""

    def prepared(self, batches, step, count):
        return tuple(batches.fitted(t) for t in range(step, step + count))


def ids(ready):
    return [batch['ids'].tolist() for batch in ready]


def test_every_program_gets_its_own_batches_in_order():
    plan = [(0, 3), (3, 1), (4, 3)]
    with Prefetched(Programs(), Stream(), plan) as made:
        assert ids(made.next()) == [[0], [1], [2]]
        assert ids(made.next()) == [[3]]
        assert ids(made.next()) == [[4], [5], [6]]


def test_no_more_is_made_than_may_wait():
    stream = Stream()
    with Prefetched(Programs(), stream, ((step, 1) for step in range(100))) as made:
        for _ in range(100):
            if len(stream.asked) == 3:  # two wait, and the third is in the thread's hands
                break
            time.sleep(0.05)
        time.sleep(0.3)
        assert len(stream.asked) == 3
        made.next()
    assert not any(thread.name == 'batches' for thread in threading.enumerate())


def test_an_error_reaches_who_waits_for_the_batch():
    with Prefetched(Programs(), Stream(fails_at=1), [(0, 1), (1, 1)]) as made:
        made.next()
        with pytest.raises(OSError, match='the disk is gone'):
            made.next()
