"""Batches made ahead: which, how many, and what becomes of errors and of the thread."""

import threading
import time

import numpy as np
import pytest

from qcrd_jax.methods.compiled import Prepared
from qcrd_jax.runs.prefetch import Prefetched


class Maker:
    """Remembers which steps were asked for."""

    def __init__(self, fails_at=None):
        self.asked, self.fails_at = [], fails_at

    def __call__(self, step, count):
        self.asked.append(step)
        if step == self.fails_at:
            raise OSError('the disk is gone')
        return Prepared(tuple({'ids': np.array([t])} for t in range(step, step + count)))


def ids(ready):
    return [batch['ids'].tolist() for batch in ready.batches]


def test_every_program_gets_its_own_batches_in_order():
    plan = [(0, 3), (3, 1), (4, 3)]
    with Prefetched(Maker(), plan) as made:
        assert ids(made.next()) == [[0], [1], [2]]
        assert ids(made.next()) == [[3]]
        assert ids(made.next()) == [[4], [5], [6]]


def test_no_more_is_made_than_may_wait():
    maker = Maker()
    with Prefetched(maker, ((step, 1) for step in range(100))) as made:
        for _ in range(100):
            if len(maker.asked) == 3:  # two wait, and the third is in the thread's hands
                break
            time.sleep(0.05)
        time.sleep(0.3)
        assert len(maker.asked) == 3
        made.next()
    assert not any(thread.name == 'batches' for thread in threading.enumerate())


def test_an_error_reaches_who_waits_for_the_batch():
    with Prefetched(Maker(fails_at=1), [(0, 1), (1, 1)]) as made:
        made.next()
        with pytest.raises(OSError, match='the disk is gone'):
            made.next()
