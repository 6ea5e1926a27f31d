"""`run.py` on several devices, and from one mesh to another."""

import json

import numpy as np
import pytest

from tests.support.runs import Workbench, last_checkpoint, reached, read_metrics

FLAGS = ('--config.train.batch_size=8', '--config.discriminator.batch_size=8')
ALONE = ('--config.mesh.data=1',)
LONGEST = 1e-3  # the learning rate
SPREAD = ('--config.mesh.data=2', '--config.mesh.fsdp=4')


@pytest.fixture(scope='module')
def bench(tmp_path_factory):
    return Workbench(tmp_path_factory.mktemp('meshes'), devices=8)


@pytest.fixture(scope='module')
def alone(bench):
    workdir = bench.folder / 'alone'
    bench.run(workdir, *FLAGS, *ALONE)
    return workdir


def assert_same_run(workdir, expected):
    (step, arrays, _), (last, wanted, _) = last_checkpoint(workdir), last_checkpoint(expected)
    assert step == last and arrays.keys() == wanted.keys()
    for name, array in arrays.items():
        difference = np.abs(array.astype(np.float64) - wanted[name])
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


def test_a_run_moves_from_mesh_to_mesh(bench, alone):
    # The kills hit the loop between checkpoints.
    workdir = bench.folder / 'moved'
    bench.kill_when(reached('train', 3), workdir, *FLAGS, *SPREAD)
    bench.kill_when(reached('train', 6), workdir, *FLAGS, *ALONE)
    assert 'resuming from step' in (workdir / 'stdout').read_text()
    bench.run(workdir, *FLAGS, *SPREAD)
    assert 'resuming from step' in (workdir / 'stdout').read_text()
    assert_same_run(workdir, alone)


def test_a_batch_that_does_not_divide_ends_in_one_line(bench):
    workdir = bench.folder / 'refused'
    code = bench.start(workdir, '--config.train.batch_size=12').wait(timeout=300)
    assert code == 1
    (line,) = (workdir / 'stderr').read_text().splitlines()
    assert line.startswith('error: --config.train.batch_size: 12 questions do not divide')
    assert not (workdir / 'metrics.jsonl').exists()


def test_answers_are_those_of_one_device(bench, alone):
    before = (alone / 'predictions.jsonl').read_text()
    bench.run(alone, *FLAGS, *SPREAD, '--mode=evaluate')
    answers = [json.loads(line) for line in (alone / 'predictions.jsonl').read_text().splitlines()]
    wanted = [json.loads(line) for line in before.splitlines()]
    assert [each['prediction'] for each in answers] == [each['prediction'] for each in wanted]
    assert [each['rationale'] for each in answers] == [each['rationale'] for each in wanted]
