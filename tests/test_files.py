"""Files are written whole or not at all, and read with their line numbers."""

import json
import os

import pytest

from qcrd_jax import files
from qcrd_jax.errors import InputError


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / 'folder' / 'a.json'
    files.write_json(path, {'ä': 1})
    assert json.loads(path.read_text(encoding='utf-8')) == {'ä': 1}

    def full(*_):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(os, 'fsync', full)
    with pytest.raises(OSError, match='No space'):
        files.write_json(path, {'b': 2})
    assert json.loads(path.read_text(encoding='utf-8')) == {'ä': 1}
    assert os.listdir(path.parent) == ['a.json']


def test_jsonl_comes_back_with_line_numbers_and_without_blank_lines(tmp_path):
    path = tmp_path / 'a.jsonl'
    files.write_jsonl(path, [{'text': 'one\ntwo\u2028three'}, {'n': 1.5}])
    path.write_text('\n' + path.read_text(encoding='utf-8') + '  \n', encoding='utf-8')
    assert list(files.read_jsonl(path)) == [(2, {'text': 'one\ntwo\u2028three'}), (3, {'n': 1.5})]


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (b'{"a": 1}\n{"a": \n', 'a.jsonl, line 2: not valid JSON'),
        (b'{"a": 1}\n[1]\n', 'a.jsonl, line 2: expected a JSON object, got list'),
        (b'[' * 100_000, 'a.jsonl, line 1: not valid JSON'),
        (b'{"a": "\xff"}\n', 'a.jsonl: not UTF-8'),
        (None, 'a.jsonl: cannot be read'),
    ],
)
def test_bad_jsonl_names_file_and_line(tmp_path, content, message):
    path = tmp_path / 'a.jsonl'
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        list(files.read_jsonl(path))
