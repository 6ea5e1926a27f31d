"""The examples run, and do what they say."""

import importlib.util
import json
import os
import re
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest

from qcrd_jax import files, losses
from tests.support import REPOSITORY
from tests.support.dialect_server import DialectServer, Reply, answer

EXAMPLES = REPOSITORY / 'examples'


@pytest.fixture(scope='module')
def loop():
    spec = importlib.util.spec_from_file_location('qcrd_loop', EXAMPLES / 'qcrd_loop.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_loop_learns_and_samples_the_student_of_lag_steps_ago(loop, capsys, monkeypatch):
    pushed, step = [], loop.train_step

    def watched(student, optimizer, params, moments, ring, batch, key, number):
        pushed.append(np.asarray(params['embedding']))
        assert ring.lag == loop.LAG == 5
        slot = np.asarray(ring.generator(number)['embedding'])
        np.testing.assert_array_equal(slot, pushed[max(number - loop.LAG, 0)])
        return step(student, optimizer, params, moments, ring, batch, key, number)

    monkeypatch.setattr(loop, 'train_step', watched)
    share = loop.main(steps=12, train=384, test=20)
    assert len(pushed) == 12
    out = capsys.readouterr().out
    first, last = (float(value) for value in re.findall(r'loss (\d+\.\d+)', out))
    assert last < first / 2
    assert f'right labels: {share:.3f} of 20' in out


def test_the_loop_is_short():
    assert len((EXAMPLES / 'qcrd_loop.py').read_text().splitlines()) <= 155


def test_the_notebook_of_a_custom_loss_runs_and_shows_what_it_computes():
    notebook = json.loads((EXAMPLES / 'custom_loss.ipynb').read_text())
    cells = [''.join(c['source']) for c in notebook['cells'] if c['cell_type'] == 'code']
    done = subprocess.run(
        [sys.executable, '-c', '\n'.join(cells)],
        cwd=EXAMPLES, capture_output=True, text=True, check=True,
        env={'PYTHONPATH': str(REPOSITORY), 'PATH': '/usr/bin:/bin', 'JAX_PLATFORMS': 'cpu'},
    )  # fmt: skip
    shown = ''.join(
        ''.join(output['text'])
        for cell in notebook['cells']
        for output in cell.get('outputs', [])
        if output['output_type'] == 'stream'
    )
    assert done.stdout == shown != ''
    # The soft minimum at a small temperature is the paper's hard one.
    values, mask = jnp.array([[2.0, 1.0, 0.5]]), jnp.array([[True, True, False]])
    hard = losses.select(values, mask, scheme='min_max', side='positive')
    assert f'hard minimum: {float(values[0, hard[0]]):.4f}' in shown


TOLD = 'Tom has {} pens and buys {} more. How many has he?'


def test_ones_own_questions_from_a_server_to_a_student(tmp_path):
    questions = tmp_path / 'questions.jsonl'
    pairs = [(a, b) for a in range(2, 9) for b in range(2, 9)]
    records = (
        {'id': f'q{a}{b}', 'input': TOLD.format(a, b), 'label': f'( {a} + {b} )'} for a, b in pairs
    )
    files.write_jsonl(questions, records)

    def reply(asked):
        question = asked['messages'][-1]['content'].rpartition('Tom has')[2]
        a, b = (int(number) for number in re.findall(r'\d+', question)[:2])
        return Reply(answer(f'{a} + {b} = {a + b} pens. The answer is ( {a} + {b} ).'))

    workdir, bin_folder = tmp_path / 'own', tmp_path / 'bin'
    bin_folder.mkdir()
    command = bin_folder / 'qcrd'
    command.write_text(f'#!/bin/sh\nexec {sys.executable} {REPOSITORY}/run.py "$@"\n')
    command.chmod(0o755)
    with DialectServer(reply) as server:
        done = subprocess.run(
            ['bash', EXAMPLES / 'own_questions.sh', questions, 'equation', workdir,
             '--config.method=dss', '--config.train.epochs=0.1',
             '--config.evaluation.max_length=8'],
            capture_output=True, text=True,
            env=os.environ | {
                'PATH': f'{bin_folder}:{os.environ["PATH"]}', 'OPENAI_BASE_URL': server.url,
                'OPENAI_MODEL': 'a-model', 'OPENAI_API_KEY': 'sk-mine', 'JAX_PLATFORMS': 'cpu',
            },
        )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert len((workdir / 'annotations.jsonl').read_text().splitlines()) >= 49
    report = files.read_json(workdir / 'prepare.json')
    assert report['train']['sample_accuracy'] == 1.0
    assert sum(report[split]['questions'] for split in report) == 49
    assert files.read_json(workdir / 'summary.json')['steps'] == 1
    answered = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"id"')]
    assert [each['id'] for each in answered] == ['q22', 'q23', 'q24']
    assert 'sk-mine' not in done.stdout + done.stderr
