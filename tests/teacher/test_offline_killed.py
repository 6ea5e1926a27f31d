"""Batch files read and written by processes that are killed at any moment and started again."""

import json
import random
import signal
import subprocess
import sys
import time

import pytest

from tests.support.annotation import records, report, settings
from tests.support.batch_runner import completion, output, read_requests, run_batch, write_lines

pytestmark = pytest.mark.usefixtures('teacher_environment')

QUESTIONS = 120  # of three samples each
_DRIVER = """
import functools, json, pathlib, sys, time
from ml_collections import config_dict
from qcrd_jax.data.schema import Example
from qcrd_jax.errors import InputError
from qcrd_jax.teacher import batch_files, batch_responses, journal
from qcrd_jax.teacher.annotate import annotate

# Small pieces and slow disks: a process dies between any two of them.
batch_responses._TOGETHER = 7
batch_files.write_requests = functools.partial(batch_files.write_requests, most_requests=40)
extend, fill = journal.Journal.extend, batch_files._fill

def slowly(function):
    def slow(*args):
        time.sleep(0.01)
        return function(*args)
    return slow

journal.Journal.extend, batch_files._fill = slowly(extend), slowly(fill)
config, count, workdir = json.loads(sys.argv[1]), int(sys.argv[2]), pathlib.Path(sys.argv[3])
questions = [Example(f'train-{n}', f'Question {n} of train?', '1') for n in range(count)]
print('ready', flush=True)
try:
    annotate(config_dict.ConfigDict(config), {'train': questions}, workdir)
except InputError as error:
    print(error)
    sys.exit(1)
"""


def start(workdir):
    config = json.dumps(settings('', through='batch').to_dict())
    process = subprocess.Popen(
        [sys.executable, '-c', _DRIVER, config, str(QUESTIONS), str(workdir)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    while process.stdout.readline() != 'ready\n':  # imports take longer than what is to be hit
        assert process.poll() is None
    return process


def asked(workdir):
    return [r for path in sorted(workdir.glob('requests*.jsonl')) for r in read_requests(path)]


def test_killed_at_any_moment_nothing_is_lost_or_there_twice(tmp_path):
    generator = random.Random(5)
    done = start(tmp_path)
    assert done.wait() == 0
    requests = asked(tmp_path)
    assert len(requests) == 3 * QUESTIONS
    outputs = [output(request) for request in requests]
    for place in range(0, len(outputs), 10):  # some fail, and were paid for
        outputs[place] = output(requests[place], completion(requests[place], text=' '))
    generator.shuffle(outputs)
    write_lines(tmp_path / 'responses.jsonl', outputs)

    kills, code = 0, -signal.SIGKILL
    while code == -signal.SIGKILL:
        process = start(tmp_path)
        if kills < 8:
            time.sleep(generator.uniform(0.0, 0.4))
            process.kill()
        code = process.wait()
        kills += code == -signal.SIGKILL
        # No request stands there twice, in whatever files.
        ids = [request.custom_id for request in asked(tmp_path)]
        assert len(set(ids)) == len(ids)
    assert kills >= 3
    assert code == 1  # answers are missing
    failed = {
        o['custom_id']
        for o in outputs
        if o['response']['body']['choices'][0]['message']['content'] == ' '
    }
    assert {request.custom_id for request in asked(tmp_path)} == failed
    told = report(tmp_path)
    assert told['faults'] == {'empty': 36}
    assert told['tokens'] == {'prompt': 36_000, 'completion': 2520, 'estimated': 0}

    for path in sorted(tmp_path.glob('requests*.jsonl')):
        run_batch(path, path.with_name(path.name.replace('requests', 'responses')))
    assert start(tmp_path).wait() == 0
    found = records(tmp_path)
    keys = {(record['id'], record['sample']) for record in found}
    assert len(found) == len(keys) == 3 * QUESTIONS
    assert all(record['text'].startswith(record['input'] + ' <') for record in found)
    assert report(tmp_path)['tokens']['prompt'] == 36_000 + 3600
    assert report(tmp_path)['duplicates'] == 0
