"""What the user gets wrong on the command line: one clear line, a code, and nothing lost."""

import json
import multiprocessing
import os
import runpy
import shutil
import subprocess
import sys

import jax.numpy as jnp
import pytest

from qcrd_jax import files
from qcrd_jax.runs.checkpoint import Checkpointer
from tests.support import REPOSITORY

SMALL = """
from qcrd_jax.config import base_config


def get_config():
    config = base_config()
    config.method = 'finetune'
    config.data.name = 'mwp'
    config.data.mwp.update(train=8, validation=2, test=2, two_step=0.0, distractors=0.0)
    config.student.update(size='tiny', pretrained='')
    return config
"""


TASK = {
    'method': 'finetune', 'dataset': 'mwp', 'answer_type': 'equation',
    'prefixes': ['predict: ', 'explain: '], 'joint': False, 'explains': False,
    'source_length': 64, 'label_length': 8, 'rationale_length': 8,
}  # fmt: skip


def leave_task(folder):
    folder.mkdir()
    files.write_json(folder / 'qcrd.json', TASK)


def _run_py(arguments, out, err):
    """`python run.py`, in a process that has the imports behind it."""
    for path, descriptor in ((out, 1), (err, 2)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    os.chdir(REPOSITORY)
    sys.argv = ['run.py', *arguments]
    runpy.run_path('run.py', run_name='__main__')


@pytest.fixture(scope='module')
def processes():
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload(['qcrd_jax.modes', 'qcrd_jax.runs.train'])
    return context


@pytest.fixture
def run(processes, tmp_path):
    config = tmp_path / 'small.py'
    config.write_text(SMALL)

    def start(*arguments, workdir=tmp_path / 'run', config=config):
        out, err = tmp_path / 'out', tmp_path / 'err'
        flags = [f'--workdir={workdir}', *arguments]
        if config is not None:
            flags.insert(0, f'--config={config}')
        process = processes.Process(target=_run_py, args=(flags, out, err))
        process.start()
        process.join(90)
        assert process.exitcode is not None, 'did not end'
        return process.exitcode, out.read_text(), err.read_text()

    return start


def assert_refused(result, *words):
    """One line on standard error that holds the words, nothing on standard output."""
    code, out, err = result
    assert code not in (0, None)
    assert out == ''
    assert err.startswith('error: ')
    assert err.count('\n') == 1, err
    assert 'Traceback' not in err
    for word in words:
        assert word in err, err


def test_as_a_user_starts_it(tmp_path):
    (tmp_path / 'small.py').write_text(SMALL)
    command = [sys.executable, 'run.py', f'--config={tmp_path}/small.py', '--config.loss.betta=1']
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert_refused(
        (result.returncode, result.stdout, result.stderr), 'betta', 'Did you mean "beta"'
    )


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        (['--config.train.stepz=3'], ["'stepz'", 'Did you mean "steps"']),
        (['--config.trian.steps=3'], ["'trian'", 'Did you mean "train"']),
        (['--config.train.steps=many'], ['--config.train.steps', 'many']),
        (['--config.train.steps=2.5'], ['--config.train.steps', '2.5']),
        (['--config.train.steps=0'], ['--config.train.steps: expected at least 1, got 0']),
        (['--config.optimizer.learning_rate=nan'], ['--config.optimizer.learning_rate: expected']),
        (['--config.loss.scheme=median'], ['--config.loss.scheme: expected min_max |', 'median']),
        (['--config.data.mwp.stories=0'], ['data.mwp.stories: expected at least 1, got 0']),
        (['--config.student.vocab_size=20'], ['student.vocab_size', 'raise it']),
        (
            ['--mode=fly'],
            ['--mode=fly', 'annotate|config|evaluate|export|judge|pairs|predict|prepare|report'],
        ),
        (['--wrkdir=a'], ["'wrkdir'", 'workdir']),
        (['extra'], ["unexpected argument 'extra'"]),
        (['--mode=predict'], ['--workdir', 'has no checkpoint; run --mode=train']),
        (['--mode=report'], ['--workdir', 'has no checkpoint; run --mode=train']),
        (['--mode=evaluate'], ['--workdir', 'has no checkpoint; run --mode=train']),
        (['--mode=export'], ['--workdir', 'has no checkpoint; run --mode=train']),
        (['--mode=annotate', '--config.teacher.base_url=ftp://x'], ['--config.teacher.base_url']),
        (
            ['--mode=annotate', '--config.teacher.base_url=http://x', '--config.teacher.budget=3'],
            ['--config.teacher.input_price'],
        ),
        (
            ['--mode=judge', '--config.teacher.base_url=http://x', "--config.judge.runs=('a','b')"],
            ['a/predictions.jsonl'],
        ),
        (['--config.data.name=custom'], ['data.source: name the .jsonl file of your questions']),
        (['--config.teacher.splits=("dev",)'], ['--config.teacher.splits: expected some of']),
        (
            ['--config.data.name=svamp', '--config.data.source=nowhere'],
            ['nowhere'],
        ),
        (
            ['--config.student.pretrained=t5-small'],
            ['t5-small', "--config.student.pretrained=''"],
        ),
        (
            ['--config.student.pretrained=./nowhere'],
            ['./nowhere', "--config.student.pretrained=''"],
        ),
    ],
    ids=lambda value: value[-1][:40] if value[0].startswith('-') else None,
)
def test_a_mistake_is_one_clear_line(run, arguments, words):
    assert_refused(run(*arguments), *words)


@pytest.mark.parametrize(
    ('content', 'words'),
    [
        (None, ['mine.py', 'No such file']),
        ('def get_config(:', ['SyntaxError', 'mine.py', 'line 1']),
        ('x = 1', ["no attribute 'get_config'"]),
        ('def get_config():\n    return nothing\n', ["NameError: name 'nothing'"]),
        ('def get_config():\n    return 1 + "a"\n', ['TypeError: unsupported operand']),
        (SMALL.replace('config.method', 'config.metod'), ['"metod" does not exist']),
        (SMALL.replace("'finetune'", '3'), ['TypeError', 'method']),
    ],
)
def test_a_faulty_configuration_file_is_one_clear_line(run, tmp_path, content, words):
    path = tmp_path / 'mine.py'
    if content is not None:
        path.write_text(content)
    assert_refused(run(config=path), *words)


def test_no_configuration_file_is_one_clear_line(run):
    assert_refused(run(config=None), '--config: name a configuration', 'holds no run')


def test_a_malformed_line_names_file_and_line_and_can_be_mended_in_the_same_workdir(run, tmp_path):
    questions = tmp_path / 'questions.jsonl'
    records = [
        {'id': f'{split}-{i}', 'split': split, 'input': f'{i} plus {n}?', 'label': f'( {i} + {n} )'}
        for n, split in enumerate(('train', 'validation', 'test'))
        for i in range(3)
    ]
    files.write_jsonl(questions, records)
    good = questions.read_text()
    questions.write_text(good.replace('{"id": "test-1"', '{"id": test-1'))
    flags = ['--mode=prepare', '--config.data.name=svamp', f'--config.data.source={questions}']
    assert_refused(run(*flags), f'{questions}, line 8')
    questions.write_text(good)
    code, out, err = run(*flags, '--config.data.samples=2')
    assert (code, err) == (0, '')
    assert 'train: 3 examples' in out


def snapshot(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob('*')
        # Who holds it, and what was begun in it, are said of every launch.
        if path.is_file() and path.name not in ('.lock', 'provenance.json')
    }


def test_another_configuration_in_the_workdir_leaves_it_unharmed(run, tmp_path):
    workdir = tmp_path / 'run'
    assert run('--mode=prepare')[0] == 0
    with Checkpointer(workdir / 'checkpoints') as checkpointer:
        checkpointer.save(0, {'weight': jnp.arange(3)}, {})
    before = snapshot(workdir)
    assert_refused(run('--config.seed=1'), 'seed (there 0, here 1)', str(workdir))
    assert snapshot(workdir) == before

    # The same configuration gets as far as the checkpoint, which is of another architecture.
    assert_refused(run(), 'is missing in the checkpoint', 'another --workdir')
    assert snapshot(workdir) == before

    shutil.rmtree(workdir / 'checkpoints' / '0' / 'state')
    record = workdir / 'checkpoints' / '0' / 'record' / 'metadata'
    record.write_text(json.dumps({}))
    before = snapshot(workdir)
    code, _, err = run()
    last = err.splitlines()[-1]
    assert code == 1
    assert 'Traceback' not in err
    assert last.startswith('error: ')
    assert 'no checkpoint is whole; step(s) 0 (' in last
    assert snapshot(workdir) == before


@pytest.mark.parametrize(
    ('content', 'words'),
    [
        (None, ['questions.jsonl: cannot be read']),
        ('', ['questions.jsonl: holds no question']),
        (
            '{"input": "2 plus 2?"}\n{"question": "?"}\n',
            ['questions.jsonl, line 2: expected "input"'],
        ),
    ],
)
def test_bad_questions_to_predict_are_one_clear_line(run, tmp_path, content, words):
    questions = tmp_path / 'questions.jsonl'
    if content is not None:
        questions.write_text(content)
    assert run('--mode=prepare')[0] == 0
    (tmp_path / 'run' / 'checkpoints' / '0').mkdir(parents=True)
    leave_task(tmp_path / 'run' / 'student')
    assert_refused(run('--mode=predict', f'--input={questions}'), *words)
