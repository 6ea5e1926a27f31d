"""Questions to annotate, how to ask them of a server of the tests, and what must be recorded."""

import collections
import json

from ml_collections import config_dict

from qcrd_jax.data.schema import Example
from qcrd_jax.teacher.annotate import annotate
from tests.support.fault_server import ANSWERS

SECRET = 'sk-secret-0123456789'
SETTINGS = {
    'data': {'name': 'svamp', 'answer_type': 'equation', 'samples': 3},
    'teacher': {
        'base_url': '', 'model': 'a-model', 'key_variable': 'TEACHER_KEY', 'prompt': '',
        'through': 'server', 'choices': 1,
        'temperature': 0.7, 'max_tokens': 60, 'splits': ('train', 'validation', 'test'),
        'limit': 0, 'concurrency': 4, 'timeout': 30.0, 'attempts': 6,
        'input_price': 0.0, 'output_price': 0.0, 'budget': 0.0, 'max_tokens_total': 0,
    },
}  # fmt: skip


def settings(server, **teacher):
    config = config_dict.ConfigDict(SETTINGS)
    config.teacher.base_url = server if isinstance(server, str) else server.url
    config.teacher.update(teacher)
    return config


def questions(number, split='train'):
    return {
        split: [Example(f'{split}-{n}', f'Question {n} of {split}?', '1') for n in range(number)]
    }


def run(config, splits, workdir):
    return annotate(config, splits, workdir, backoff=0.01)


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding='utf-8').splitlines()]


def records(workdir):
    return lines(workdir / 'annotations.jsonl')


def report(workdir):
    return json.loads((workdir / 'annotate.json').read_text())


def check_records(workdir, server, splits, samples=3):
    """Every answer is there once, in the words that the server gave to that very question."""
    found = records(workdir)
    keys = collections.Counter((r['split'], r['id'], r['sample']) for r in found)
    wanted = {
        (split, example.id, number)
        for split, examples in splits.items()
        for example in examples
        for number in range(samples)
    }
    assert set(keys) == wanted
    assert set(keys.values()) == {1}
    given = {a.text: a for a in server.log if a.kind in ANSWERS}
    texts = [record['text'] for record in found]
    assert len(set(texts)) == len(texts)  # no answer serves two records
    inputs = {(split, e.id): e.input for split, part in splits.items() for e in part}
    for record in found:
        answered = given[record['text']]
        assert answered.question == record['input'] == inputs[record['split'], record['id']]
        assert (record['finish_reason'] == 'length') == (answered.kind == 'length')
        if answered.kind != 'no_usage':
            usage = record['usage']
            assert (usage['prompt_tokens'], usage['completion_tokens']) == answered.tokens
            assert not usage['estimated']
    return found
