"""A small run: its configuration, `run.py` on it, and what it leaves."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from qcrd_jax import files
from qcrd_jax.runs.checkpoint import Checkpointer
from qcrd_jax.runs.timing import TIMES
from tests.support import REPOSITORY, quick

LONGEST = 1e-3  # the learning rate
PATIENCE = 1200  # seconds for a run, on a machine that is busy with others
TIMINGS = set(TIMES)
CONFIG = """
from qcrd_jax.config import base_config


def get_config():
    config = base_config()
    config.data.update(name='mwp', samples=3)
    config.data.mwp.update(train=48, validation=8, test=10, two_step=0.0, distractors=0.0)
    config.data.mwp.update(max_number=20, stories=1)
    config.student.update(size='tiny', pretrained='', dropout=0.1)
    config.discriminator.update(pretrain_steps=4, batch_size=4, learning_rate=1e-3, update_every=3)
    config.negatives.update(lag=1, interval=2, max_length=8)
    config.optimizer.learning_rate = 1e-3
    # Windows of one and of two steps: single steps and chunks of the ring's length both occur.
    config.train.update(steps=8, batch_size=4, log_every=3, evaluate_every=6, checkpoint_every=2)
    config.train.update(checkpoint_minutes=0.0, keep_state=True, shapes=2)
    config.evaluation.update(batch_size=8, max_length=8, examples=2, temperatures=(1.5,))
    config.evaluation.case_temperatures = (0.0, 0.7, 1.5)
    return config
"""


class Workbench:
    """Starts `run.py` with the small configuration."""

    def __init__(self, folder: pathlib.Path, platform: str = 'cpu', devices: int = 1):
        self.folder = folder
        self.config = folder / 'small.py'
        self.config.write_text(CONFIG)
        self.environment = os.environ | {
            'JAX_PLATFORMS': platform,
            'XLA_FLAGS': f'{quick.XLA_FLAGS} --xla_force_host_platform_device_count={devices}'
            if platform == 'cpu'
            else '',
        }

    def start(self, workdir: pathlib.Path, *flags: str, name: str = '') -> subprocess.Popen:
        """Starts a process, whose output goes to the workdir, in files that begin with a name."""
        workdir.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, 'run.py', f'--config={self.config}', f'--workdir={workdir}']
        output, errors = (workdir / f'{name}{stream}' for stream in ('stdout', 'stderr'))
        with open(output, 'w') as out, open(errors, 'w') as err:
            return subprocess.Popen(
                [*command, *flags], cwd=REPOSITORY, stdout=out, stderr=err, env=self.environment
            )

    def run(self, workdir: pathlib.Path, *flags: str) -> str:
        """Runs to the end; returns what was printed."""
        code = self.start(workdir, *flags).wait(timeout=PATIENCE)
        assert code == 0, (workdir / 'stderr').read_text()[-3000:]
        return (workdir / 'stdout').read_text()

    def kill_when(self, condition, workdir: pathlib.Path, *flags: str) -> None:
        """Starts, waits for the condition, and kills as a power cut would."""
        process = self.start(workdir, *flags)
        deadline = time.monotonic() + PATIENCE
        try:
            while not condition(workdir):
                assert process.poll() is None, (workdir / 'stderr').read_text()[-3000:]
                assert time.monotonic() < deadline
                time.sleep(0.001)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()


def flip_a_bit(checkpoint: pathlib.Path) -> None:
    """Damages the arrays of a checkpoint of one step."""
    arrays = [path for path in checkpoint.rglob('*') if path.is_file() and path.parent.name == 'd']
    path = max(arrays, key=lambda path: path.stat().st_size)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def small_config():
    scope = {}
    exec(compile(CONFIG, 'small.py', 'exec'), scope)
    return scope['get_config']()


def reached(phase, step):
    """Whether metrics.jsonl has come to a step of a phase."""

    def condition(workdir):
        path = workdir / 'metrics.jsonl'
        lines = path.read_text().splitlines() if path.exists() else []
        records = [json.loads(line) for line in lines if line.endswith('}')]
        return any(record['phase'] == phase and record['step'] >= step for record in records)

    return condition


def read_metrics(workdir, phase=None):
    records = [record for _, record in files.read_jsonl(workdir / 'metrics.jsonl')]
    return [
        {name: value for name, value in record.items() if name not in TIMINGS}
        for record in records
        if phase in (None, record['phase'])
    ]


def last_checkpoint(workdir):
    """Everything in the last checkpoint, by leaf name, and its record."""
    with Checkpointer(workdir / 'checkpoints') as checkpointer:
        step = checkpointer.steps()[-1]
        record = checkpointer._read_record(step)
        like = {
            name: jax.ShapeDtypeStruct(entry['shape'], entry['dtype'])
            for name, entry in record['arrays'].items()
        }
        return step, checkpointer._read_arrays(step, record['arrays'], like), record


def assert_same_run(workdir: pathlib.Path, expected: pathlib.Path, *, kept: bool = True) -> None:
    """Whether two runs are the same, but for what other orders of sums round.

    Args:
      workdir: of one.
      expected: of the other.
      kept: whether the first kept its ring and moments, as the other one did.
    """
    (step, arrays, _), (last, wanted, _) = last_checkpoint(workdir), last_checkpoint(expected)
    assert step == last
    if not kept:
        wanted = {name: leaf for name, leaf in wanted.items() if name in arrays}
        assert any(name.startswith('best.') for name in arrays)
        gone = ('progress.ring.', 'progress.state.opt_state.')
        assert any(name.startswith(gone) for name in last_checkpoint(expected)[1])
        assert not any(name.startswith(gone) for name in arrays)
    assert arrays.keys() == wanted.keys()
    for name, array in arrays.items():
        difference = np.abs(np.asarray(array, np.float64) - np.asarray(wanted[name]))
        # AdamW's first steps are as long where a gradient is next to nothing, and rounded away.
        assert difference.max(initial=0) <= LONGEST, name
        assert difference.mean() <= LONGEST / 100, name
    for mine, theirs in zip(read_metrics(workdir), read_metrics(expected), strict=True):
        assert mine.keys() == theirs.keys()
        for name, value in theirs.items():
            if isinstance(value, float):
                assert mine[name] == pytest.approx(value, rel=1e-3, abs=1e-5), name
            else:
                assert mine[name] == value, name
