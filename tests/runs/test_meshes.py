"""`run.py` on several devices, and from one mesh to another."""

import json
import os
import socket
import time

import pytest

from tests.support.runs import (
    PATIENCE,
    Workbench,
    assert_same_run,
    flip_a_bit,
    reached,
)

ALL = os.environ.get('QCRD_ALL_MESHES') == '1'
FLAGS = ('--config.train.batch_size=8', '--config.discriminator.batch_size=8')
# With a discriminator it takes twice as long; `on_meshes` has one on the same mesh.
FLAGS += () if ALL else ('--config.discriminator.weigh=False',)
ALONE = ('--config.mesh.data=1',)
EACH = 4 if ALL else 2  # devices of each of two processes
SPREAD = ('--config.mesh.data=2', '--config.mesh.fsdp=4')


@pytest.fixture(scope='module')
def bench(tmp_path_factory):
    return Workbench(tmp_path_factory.mktemp('meshes'), devices=8)


@pytest.fixture(scope='module')
def alone(bench):
    workdir = bench.folder / 'alone'
    bench.run(workdir, *FLAGS, *ALONE)
    return workdir


@pytest.mark.skipif(not ALL, reason='two processes move too: QCRD_ALL_MESHES=1')
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


HEARTBEAT = 10


def start_two(bench, workdir, *flags):
    with socket.create_server(('localhost', 0)) as server:
        port = server.getsockname()[1]
    return [
        bench.start(
            workdir,
            *FLAGS,
            *flags,
            '--config.mesh.data=2',
            f'--config.mesh.fsdp={EACH}',
            f'--process={place}/2@localhost:{port}',
            f'--heartbeat={HEARTBEAT}',
            name=f'{place}-',
        )
        for place in range(2)
    ]


def wait_for(condition, workdir, processes):
    deadline = time.monotonic() + PATIENCE
    while not condition(workdir):
        for place, process in enumerate(processes):
            assert process.poll() is None, (workdir / f'{place}-stderr').read_text()[-3000:]
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_two_processes_of_several_devices(bench, alone):
    workdir, two = bench.folder / 'two', Workbench(bench.folder, devices=EACH)
    started = start_two(two, workdir)
    try:
        wait_for(reached('train', 3), workdir, started)
        started[1].kill()
        began = time.monotonic()
        assert started[0].wait(timeout=HEARTBEAT + 20) != 0
        assert time.monotonic() - began < HEARTBEAT + 20
        last = (workdir / '0-stderr').read_text().replace('\r', '\n').splitlines()
        assert last[-1].startswith('error: another process of this run ended;')
        assert 'stack trace' not in '\n'.join(last) and 'Fatal' not in '\n'.join(last)
    finally:
        for process in started:
            process.kill()
    # One device resumes what two processes wrote, and they what it wrote, as far as it is whole.
    bench.kill_when(reached('train', 6), workdir, *FLAGS, *ALONE)
    assert 'resuming from step' in (workdir / 'stdout').read_text()
    names = [path.name for path in (workdir / 'checkpoints').iterdir()]
    steps = sorted(int(name) for name in names if name.isdigit())  # not those half written
    flip_a_bit(workdir / 'checkpoints' / str(steps[-1]))
    started = start_two(two, workdir, '--config.train.keep_state=False')
    try:
        codes = [process.wait(timeout=PATIENCE) for process in started]
    finally:
        for process in started:
            process.kill()
    assert codes == [0, 0], (workdir / '0-stderr').read_text()[-3000:]
    assert f'resuming from step {steps[-2]}' in (workdir / '0-stdout').read_text()
    assert (workdir / 'checkpoints-damaged' / str(steps[-1])).is_dir()
    assert_same_run(workdir, alone, kept=False)
    assert (workdir / 'hf/model.safetensors').exists()
    assert (workdir / 'report/index.html').exists()
