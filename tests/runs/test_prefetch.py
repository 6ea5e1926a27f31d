"""Batches made ahead: which, how many, and what becomes of errors and of the thread."""

import threading
import time

import numpy as np
import pytest

from qcrd_jax.runs.prefetch import Prefetched


class Stream:
    """Remembers which windows were asked for."""

    def __init__(self, fails_at=None):
        self.asked, self.fails_at = [], fails_at

    def __getitem__(self, step):
        raise NotImplementedError

    def window(self, step, count):
        self.asked.append((step, count))
        if step == self.fails_at:
            raise OSError('the disk is gone')
        return {'ids': np.arange(step, step + count)[:, None]}


def test_every_program_gets_its_own_batches_in_order():
    plan = [(0, 3), (3, 1), (4, 3)]
    with Prefetched(Stream(), plan) as made:
        assert made.next()['ids'].tolist() == [[0], [1], [2]]
        assert made.next()['ids'].tolist() == [3]
        assert made.next()['ids'].tolist() == [[4], [5], [6]]


def test_no_more_is_made_than_may_wait():
    stream = Stream()
    with Prefetched(stream, ((step, 1) for step in range(100))) as made:
        for _ in range(100):
            if len(stream.asked) == 3:  # two wait, and the third is in the thread's hands
                break
            time.sleep(0.05)
        time.sleep(0.3)
        assert len(stream.asked) == 3
        made.next()
    assert not any(thread.name == 'batches' for thread in threading.enumerate())


def test_an_error_reaches_who_waits_for_the_batch():
    with Prefetched(Stream(fails_at=1), [(0, 1), (1, 1)]) as made:
        made.next()
        with pytest.raises(OSError, match='the disk is gone'):
            made.next()
