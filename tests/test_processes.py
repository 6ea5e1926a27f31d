"""How several processes agree; on one, nothing is asked. (`tests/runs/test_meshes.py` has two.)"""

import os
import subprocess
import sys

import jax
import numpy as np
import pytest

from qcrd_jax import processes
from qcrd_jax.errors import InputError
from tests.support import REPOSITORY


@pytest.mark.parametrize('given', ['1', '0/2', '2/2@host:1', '0/2@host', 'a/b@host:1'])
def test_a_process_that_cannot_be_read_is_refused(given):
    with pytest.raises(InputError, match=r'--process: expected <number>/<count>@<host:port'):
        processes.initialize(given)


@pytest.mark.parametrize(
    ('variables', 'several'),
    [
        ({}, False),
        ({'SLURM_NTASKS': '4'}, False),  # of a job whose step is this process alone
        ({'SLURM_STEP_NUM_TASKS': '1'}, False),
        ({'SLURM_STEP_NUM_TASKS': '4'}, True),
        ({'OMPI_COMM_WORLD_SIZE': '2'}, True),
        ({'JAX_NUM_PROCESSES': '2'}, True),
        ({'TPU_WORKER_HOSTNAMES': 'one'}, False),
        ({'TPU_WORKER_HOSTNAMES': 'one,two'}, True),
    ],
)
def test_the_environment_says_whether_there_are_several(monkeypatch, variables, several):
    for name in (
        'SLURM_STEP_NUM_TASKS', 'OMPI_COMM_WORLD_SIZE', 'JAX_NUM_PROCESSES', 'TPU_WORKER_HOSTNAMES',
    ):  # fmt: skip
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    started = []
    monkeypatch.setattr(jax.distributed, 'initialize', lambda **given: started.append(given))
    monkeypatch.setenv('QCRD_WATCHED_BY', str(os.getppid()))
    monkeypatch.setattr(processes, '_die_with_parent', lambda: None)
    processes.initialize(heartbeat=7)
    assert bool(started) == several
    assert all(given['heartbeat_timeout_seconds'] == 7 for given in started)


def test_the_numbers_of_a_process_are_handed_on(monkeypatch):
    started = []
    monkeypatch.setattr(jax.distributed, 'initialize', lambda **given: started.append(given))
    monkeypatch.setenv('QCRD_WATCHED_BY', str(os.getppid()))
    monkeypatch.setattr(processes, '_die_with_parent', lambda: None)
    processes.initialize('1/4@first:1234')
    assert started == [
        {
            'process_id': 1,
            'num_processes': 4,
            'coordinator_address': 'first:1234',
            'heartbeat_timeout_seconds': 60,
        }
    ]


def test_one_process_agrees_with_itself():
    assert processes.is_first() and not processes.several()
    assert processes.agreed(True) and not processes.agreed(False)
    assert processes.of_any(True) and not processes.of_all(False)
    done = []
    processes.by_first(done.append, 1)
    assert done == [1]
    with pytest.raises(InputError, match='no'):
        processes.by_first(fail)


def test_one_process_is_not_asked_for_its_devices():
    # JAX reads its flags as it starts: `train.deterministic` sets some before that.
    code = (
        'from jax._src import xla_bridge\n'
        'from qcrd_jax import processes\n'
        'processes.initialize()\n'
        'with processes.quiet():\n'
        '    assert not processes.several() and processes.is_first()\n'
        'processes.agree_on_signals()\n'
        'print(xla_bridge.backends_are_initialized())\n'
    )
    ran = subprocess.run(
        [sys.executable, '-c', code], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert ran.stdout == 'False\n'


def fail():
    raise InputError('no')


def test_what_the_first_could_not_do_fails_everywhere(monkeypatch):
    # The second of two processes: it hears what the first one says.
    said = []

    def broadcast(value):
        said.append(value)
        return np.frombuffer('full äöü'.encode().ljust(len(value), b'\0'), np.uint8)

    monkeypatch.setattr(jax.distributed, 'is_initialized', lambda: True)
    monkeypatch.setattr(jax, 'process_count', lambda: 2)
    monkeypatch.setattr(jax, 'process_index', lambda: 1)
    monkeypatch.setattr(processes.multihost_utils, 'broadcast_one_to_all', broadcast)
    with pytest.raises(InputError, match='full äöü'):
        processes.by_first(fail)
    assert not np.any(said)  # its own function was not called
