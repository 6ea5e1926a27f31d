"""Files are written whole or not at all, and read with their line numbers."""

import json
import os
import re
import signal
import socket
import subprocess
import sys

import pytest
from absl import logging

from qcrd_jax import files
from qcrd_jax.errors import InputError
from tests.support import REPOSITORY

HOLD = """
import pathlib, sys, time
from qcrd_jax import files
with files.locked(pathlib.Path(sys.argv[1])):
    print('held', flush=True)
    time.sleep(float(sys.argv[2]))
"""


def holding(folder, seconds):
    """A process that holds a folder for some time, once it holds it."""
    process = subprocess.Popen(
        [sys.executable, '-c', HOLD, str(folder), str(seconds)],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == 'held\n'
    return process


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
        (b'{"a": "\xff"}\n', 'a.jsonl, line 1: not UTF-8'),
        (b'{"a": %s}\n' % (b'9' * 5000), 'a.jsonl, line 1: not valid JSON'),
        (
            b'{"a": 1}\n{"b": {"c": 1, "c": 1}}',
            "line 2: not valid JSON .the name 'c' is there twice",
        ),
        (b'\xef\xbb\xbf{"a": 1}\n\xef\xbb\xbf{}', 'a.jsonl, line 2: not valid JSON'),
        ('{"a": 1}'.encode('utf-16'), 'a.jsonl, line 1: not UTF-8'),
        (None, 'a.jsonl: cannot be read'),
    ],
)
def test_bad_jsonl_names_file_and_line(tmp_path, content, message):
    path = tmp_path / 'a.jsonl'
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        list(files.read_jsonl(path))


def test_objects_are_found_again_by_their_offsets(tmp_path):
    path = tmp_path / 'a.jsonl'
    path.write_bytes('\ufeff{"a": "ä"}\r\n\r\n {"a": "b"}'.encode())
    found = list(files.object_lines(path))
    assert [(number, record) for number, _, record in found] == [(1, {'a': 'ä'}), (3, {'a': 'b'})]
    data = path.read_bytes()
    for _, offset, record in found:
        assert json.loads(data[offset:].splitlines()[0]) == record


@pytest.mark.parametrize('name', ['a**', 'a*', 'run[1]', 'what?', 'a\0b', 'half\udc80'])
def test_a_folder_whose_path_is_a_pattern_is_refused(tmp_path, name):
    for folder in (tmp_path / name, tmp_path / name / 'run'):
        with pytest.raises(InputError, match=r'^--workdir: expected a path of Unicode characters'):
            files.check_folder('--workdir', folder)
    files.check_folder('--workdir', tmp_path / "a {b} %s @ : ; & $ ' , ~é ]")


def test_a_relative_folder_is_checked_with_the_one_that_it_is_in(tmp_path, monkeypatch):
    (tmp_path / 'a[1]').mkdir()
    monkeypatch.chdir(tmp_path / 'a[1]')
    with pytest.raises(InputError, match=r'a\[1\]/run'):
        files.check_folder('--workdir', 'run')


def test_a_lock_names_its_holder_and_a_kill_lets_go(tmp_path):
    process = holding(tmp_path, 60)
    try:
        expected = (
            rf'process {process.pid} on host {re.escape(socket.gethostname())}, since \d{{4}}-\S+'
        )
        for _ in range(2):  # whoever fails to get it does not take the holder's name out of it
            with pytest.raises(BlockingIOError), files.locked(tmp_path):
                pass
            assert re.fullmatch(expected, files.holder(tmp_path))
        with files.locked(tmp_path, name='.other'):  # another lock
            pass
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    with files.locked(tmp_path):
        assert f'process {os.getpid()} on' in files.holder(tmp_path)
    assert (tmp_path / '.lock').read_bytes() == b''
    assert files.holder(tmp_path) == 'another process'


def test_who_waits_long_says_for_whom(tmp_path, monkeypatch):
    monkeypatch.setattr(files, '_PATIENCE', 0.0)
    said = []
    monkeypatch.setattr(logging, 'warning', lambda text, *args: said.append(text % args))
    process = holding(tmp_path, 1)
    with files.locked(tmp_path, wait=True):
        assert process.wait(30) == 0
    process.stdout.close()
    (line,) = said
    assert line.startswith(f'waiting for process {process.pid} on host ')
    assert line.endswith(f'which holds {tmp_path}')


@pytest.mark.parametrize(
    'content',
    [b'', b'{', b'[]', b'[' * 1000, b'\xff', b'{"host": 1}', b'0' * 5000,
     b'{"host": "a\\n", "process": {}, "since": "' + b'x' * 300 + b'"}'],
)  # fmt: skip
def test_a_lock_that_says_nothing_is_held_by_another_process(tmp_path, content):
    (tmp_path / '.lock').write_bytes(content)
    assert files.holder(tmp_path).isprintable()
    assert 'process' in files.holder(tmp_path)[:20]


def test_a_full_disk_does_not_open_a_lock(tmp_path, monkeypatch):
    def full():
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(files, '_signature', full)
    with files.locked(tmp_path), pytest.raises(BlockingIOError), files.locked(tmp_path):
        pass


def test_leftovers_are_removed_and_nothing_else(tmp_path):
    files.temporary(tmp_path / 'folder').mkdir()
    (files.temporary(tmp_path / 'folder') / 'file').write_text('half')
    files.temporary(tmp_path / 'file').write_text('half')
    (tmp_path / '.link.1.tmp').symlink_to(tmp_path / 'kept')
    for name in ('kept', '.kept', 'a.tmp'):
        (tmp_path / name).mkdir()
    files.remove_leftovers(tmp_path)
    assert sorted(os.listdir(tmp_path)) == ['.kept', 'a.tmp', 'kept']
