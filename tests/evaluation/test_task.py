"""How a student is asked, as its folder says it."""

import json

import pytest

from qcrd_jax.errors import InputError
from qcrd_jax.evaluation import task as tasks
from qcrd_jax.evaluation.task import Task

TASK = Task('dss', 'svamp', 'equation', ('p: ', 'e: '), False, True, 64, 12, 40)


def test_a_task_comes_back_from_its_file(tmp_path):
    (tmp_path / 'qcrd.json').write_text(json.dumps(TASK.to_json()))
    assert tasks.read(tmp_path) == TASK
    assert TASK.longest == (64, 40)


@pytest.mark.parametrize(
    ('field', 'value'),
    [
        ('prefixes', ['one']),
        ('prefixes', 'predict: '),
        ('answer_type', 'essay'),
        ('answer_type', ['text']),
        ('joint', 1),
        ('label_length', 0),
        ('label_length', True),
        ('source_length', 2.5),
        ('method', None),
    ],
)
def test_a_wrong_field_is_named(field, value):
    record = TASK.to_json() | {field: value}
    with pytest.raises(InputError, match=f'there: {field}: expected '):
        tasks.from_json(record, 'there')
    del record[field]
    with pytest.raises(InputError, match=f'there: {field}: expected .* got None'):
        tasks.from_json(record, 'there')


def test_a_folder_without_a_task_says_what_is_expected(tmp_path):
    with pytest.raises(InputError, match=r'qcrd\.json: no such file; .*--mode=export'):
        tasks.read(tmp_path)
