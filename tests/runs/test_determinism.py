"""The same bits from every run on a GPU, where they are asked for."""

import os
import subprocess
import sys

import jax
import pytest

from qcrd_jax.config import base_config
from qcrd_jax.runs import determinism
from tests.support.runs import Workbench, last_checkpoint, reached, read_metrics

WANTED = ['--xla_gpu_deterministic_ops=true', '--xla_gpu_autotune_level=0']


def flags_after(before, *, deterministic=True):
    config = base_config()
    config.train.deterministic = deterministic
    environment = {} if before is None else {'XLA_FLAGS': before}
    determinism.request(config, environment)
    return environment.get('XLA_FLAGS')


def test_the_flags_are_set_and_take_the_place_of_others(capsys):
    assert flags_after(None).split() == WANTED
    others = '--xla_gpu_autotune_level=4 --xla_dump_to=x --xla_gpu_deterministic_ops=false'
    assert flags_after(others).split() == ['--xla_dump_to=x', *WANTED]
    assert capsys.readouterr().out.count('steps take longer') == 2


def test_without_the_field_nothing_is_touched(capsys):
    assert flags_after('--xla_dump_to=x', deterministic=False) == '--xla_dump_to=x'
    assert flags_after(None, deterministic=False) is None
    assert capsys.readouterr().out == ''


def test_the_modes_are_imported_before_jax_reads_its_flags():
    # JAX reads XLA_FLAGS when its first backend starts: nothing may start it on import.
    program = (
        'import qcrd_jax.modes\nfrom jax._src import xla_bridge\n'
        'assert not xla_bridge.backends_are_initialized()\n'
        'from qcrd_jax.config import base_config\nfrom qcrd_jax.runs import determinism\n'
        'config = base_config()\nconfig.train.deterministic = True\n'
        'determinism.request(config)\nimport jax\nprint(jax.numpy.arange(4).sum())'
    )
    done = subprocess.run(
        [sys.executable, '-c', program],
        env=os.environ | {'JAX_PLATFORMS': 'cpu'},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == '6'  # and XLA knows the flags


@pytest.mark.gpu
def test_two_runs_and_a_resumed_one_are_equal_bit_by_bit(tmp_path):
    if jax.default_backend() != 'gpu':
        pytest.skip('needs a GPU')
    (tmp_path / 'bench').mkdir()
    bench = Workbench(tmp_path / 'bench', platform='cuda')
    flags = [
        '--config.train.deterministic=True',
        '--config.train.steps=30',
        '--config.student.compute_dtype=bfloat16',
    ]
    first, second, resumed = (tmp_path / name for name in ('first', 'second', 'resumed'))
    bench.run(first, *flags)
    bench.run(second, *flags)
    bench.kill_when(reached('train', 9), resumed, *flags)
    bench.run(resumed, *flags)
    _, _, expected = last_checkpoint(first)
    for workdir in (second, resumed):
        _, _, record = last_checkpoint(workdir)
        assert record['arrays'] == expected['arrays']  # SHA-256 of every leaf
        assert read_metrics(workdir) == read_metrics(first)
        for name in ('predictions.jsonl', 'scores.json', 'hf/model.safetensors'):
            assert (workdir / name).read_bytes() == (first / name).read_bytes(), name
