"""Annotation killed at any moment and started again, against a server that misbehaves."""

import collections
import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from tests.support.annotation import (
    SECRET,
    check_records,
    questions,
    report,
    settings,
)
from tests.support.fault_server import ANSWERS, FAULTS, FaultServer, shuffled

pytestmark = pytest.mark.usefixtures('teacher_environment')

_DRIVER = """
import json, pathlib, sys
from ml_collections import config_dict
from qcrd_jax.data.schema import Example
from qcrd_jax.teacher.annotate import annotate

config, count, workdir = json.loads(sys.argv[1]), int(sys.argv[2]), pathlib.Path(sys.argv[3])
questions = [Example(f'train-{n}', f'Question {n} of train?', '1') for n in range(count)]
annotate(config_dict.ConfigDict(config), {'train': questions}, workdir, backoff=0.01)
"""


def kill_and_restart(workdir, config, server, number, generator):
    """Runs annotation in processes of its own, killed again and again, until one gets through.

    Returns:
      How many were killed, how many ended by themselves, and all that they wrote to the terminal.
    """
    command = [sys.executable, '-c', _DRIVER, json.dumps(config), str(number), str(workdir)]
    kills, ended, output = 0, 0, ''
    while True:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        goal = len(server.log) + generator.randrange(1, 50)
        while process.poll() is None and len(server.log) < goal:
            time.sleep(0.001)
        process.kill()
        output += process.communicate()[0]
        killed = process.returncode == -signal.SIGKILL
        kills, ended = kills + killed, ended + (not killed)
        if process.returncode == 0:
            return kills, ended, output


def test_killed_at_any_moment_nothing_recorded_is_lost_or_repeated(tmp_path):
    # QCRD_FAULT_QUESTIONS=1000 is the long version, with every fault there is (docs/teacher.md).
    number = int(os.environ.get('QCRD_FAULT_QUESTIONS', '40'))
    kinds = ['500', 'html', 'empty', '429', 'reset', 'length']
    if number > 100:
        kinds = [*FAULTS, 'length', 'no_usage']
    schedule = shuffled(['ok'] * 8 * len(kinds) + kinds, seed=2)
    with FaultServer(schedule) as server:
        config = settings(server, timeout=3.0).to_dict()
        kills, ended, output = kill_and_restart(tmp_path, config, server, number, random.Random(3))
        found = check_records(tmp_path, server, questions(number))
    assert kills >= 2
    served = sum(answered.kind in ANSWERS for answered in server.log)
    # Only what was in flight when a process died was asked for twice.
    assert len(found) <= served <= len(found) + 4 * kills
    told = report(tmp_path)
    assert told['duplicates'] == told['missing'] == 0
    # The same holds of the faults; of any kind there are no more than the server dealt out.
    faults = collections.Counter()
    for kind, count in server.kinds().items():
        if kind in FAULTS:
            faults[FAULTS[kind]] += count
    assert faults.total() - 4 * kills <= sum(told['faults'].values()) <= faults.total()
    assert all(count <= faults[kind] for kind, count in told['faults'].items())
    for text in (output, *(path.read_text() for path in tmp_path.iterdir())):
        assert SECRET not in text
    print(
        f'\n{len(server.log)} requests answered: {served} with an answer, {dict(faults)}\n'
        f'{kills} kills, {ended} ended; {len(found)} records, 0 duplicates, 0 missing, '
        f'{served - len(found)} answers lost in flight\nrecorded faults: {told["faults"]}'
    )
