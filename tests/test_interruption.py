"""Signals: where they interrupt, where they wait, and how a process ends."""

import os
import signal
import subprocess
import sys
import time

import pytest

from qcrd_jax import bars, interruption
from qcrd_jax.interruption import Interrupted

PATIENCE = 120  # seconds for a process that takes one


def send(number):
    os.kill(os.getpid(), number)


@pytest.mark.parametrize(('number', 'status'), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_interrupts_at_once_where_nobody_polls(number, status):
    with interruption.handled(), pytest.raises(Interrupted) as caught:
        send(number)
        time.sleep(PATIENCE)
    assert caught.value.status == status
    assert str(caught.value) == (
        f'interrupted by {number.name}; run the same command again to resume.'
    )


def test_a_signal_waits_for_who_polls(capfd):
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    done = []
    with interruption.handled(), interruption.polling():
        with pytest.raises(Interrupted):
            for item in interruption.polled(range(5)):
                done.append(item)
                if item == 1:
                    assert not interruption.requested()
                    send(signal.SIGTERM)
                    assert interruption.requested()
                    done.append('finished')
        with pytest.raises(Interrupted, match='step 2 is saved; run the same command again'):
            interruption.check('step 2 is saved')
        send(signal.SIGTERM)  # schedulers repeat themselves
        with pytest.raises(Interrupted):
            next(bars.shown([1], 'counting', 'numbers'))
    assert done == [0, 1, 'finished']
    assert not interruption.requested()  # it was for that block
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
    assert capfd.readouterr().err.count('SIGTERM: stopping where nothing is lost') == 1


def started(program):
    """A process that runs a program, once it has said that it is there."""
    process = subprocess.Popen(
        [sys.executable, '-c', program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == 'there\n'
    return process


# The main thread is in C code that knows no signal, as when XLA compiles.
BUSY = """
import ctypes, threading
from qcrd_jax import interruption
with interruption.handled(), interruption.polling():
    print('there', flush=True)
    semaphore = (ctypes.c_char * 64)()
    libc = ctypes.CDLL(None)
    libc.sem_init(ctypes.byref(semaphore), 0, 0)
    while True:
        libc.sem_wait(ctypes.byref(semaphore))
"""


def test_a_second_ctrl_c_ends_a_process_that_does_not_even_poll():
    process = started(BUSY)
    process.send_signal(signal.SIGINT)
    assert process.stderr.readline() == '\n'
    assert process.stderr.readline() == (
        'SIGINT: stopping where nothing is lost (Ctrl-C again ends at once)\n'
    )
    process.send_signal(signal.SIGTERM)  # a second signal, but no second Ctrl-C
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=0.5)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=PATIENCE) == 130


@pytest.mark.parametrize(('number', 'status'), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_before_anything_was_begun_a_signal_ends_with_its_status(number, status):
    process = started(
        'import time\nfrom qcrd_jax import interruption\n'
        "interruption.end_at_once()\nprint('there', flush=True)\ntime.sleep(1000)"
    )
    process.send_signal(number)
    assert process.wait(timeout=PATIENCE) == status
    assert process.stderr.read() == (
        f'interrupted by {number.name}; run the same command again to resume.\n'
    )
