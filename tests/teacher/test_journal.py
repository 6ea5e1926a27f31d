"""A journal's lines are whole, synced and there once, whatever happens to its writer."""

import json
import os

import pytest

from qcrd_jax.errors import InputError
from qcrd_jax.teacher import journal
from qcrd_jax.teacher.journal import Journal

KEY = ('id', 'sample')
RECORDS = [{'id': 'a', 'sample': n, 'text': f'{n}: "so"\n\u2028 \u00fc'} for n in range(3)]


@pytest.fixture
def path(tmp_path):
    return tmp_path / 'runs' / 'annotations.jsonl'


def write(path, records=RECORDS):
    with Journal(path, KEY) as file:
        assert list(file.replay()) == []
        for record in records:
            file.append(record)


def replay(path):
    with Journal(path, KEY) as file:
        return list(file.replay())


def test_records_come_back_as_they_were(path):
    write(path)
    assert replay(path) == list(enumerate(RECORDS, start=1))
    assert path.read_bytes().count(b'\n') == 3
    with Journal(path, KEY) as file:
        list(file.replay())
        assert {'id': 'a', 'sample': 2, 'other': 1} in file
        assert {'id': 'a', 'sample': 3} not in file
        assert {'id': 'a', 'sample': '2'} not in file


def test_a_record_is_not_written_twice(path):
    with Journal(path, KEY) as file:
        file.append(RECORDS[0])
        with pytest.raises(ValueError, match='recorded already'):
            file.append(RECORDS[0] | {'text': 'another'})
    assert replay(path) == [(1, RECORDS[0])]


def test_several_records_are_all_written_or_none(path, monkeypatch):
    with Journal(path, KEY) as file:
        file.append(RECORDS[0])
        for twice in ([*RECORDS[1:], RECORDS[0]], [RECORDS[1], RECORDS[1]]):
            with pytest.raises(ValueError, match='recorded already'):
                file.extend(twice)
        with monkeypatch.context() as patch:
            patch.setattr(os, 'fsync', lambda _: (_ for _ in ()).throw(OSError('the disk')))
            with pytest.raises(OSError, match='the disk'):
                file.extend(RECORDS[1:])
        assert RECORDS[1] not in file
        file.extend([])
        file.extend(RECORDS[1:])
        assert RECORDS[2] in file
    assert replay(path) == list(enumerate(RECORDS, start=1))


@pytest.mark.parametrize('cut', [1, 5, 20])
def test_a_torn_last_line_is_cut_off_and_kept(path, cut):
    write(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    last = whole.splitlines(keepends=True)[-1][:-cut]
    with Journal(path, KEY) as file:
        assert list(file.replay()) == [(1, RECORDS[0]), (2, RECORDS[1])]
        assert RECORDS[2] not in file
        file.append(RECORDS[2])
    assert path.read_bytes() == whole
    assert path.with_name('annotations.jsonl.torn').read_bytes() == last + b'\n'


@pytest.mark.parametrize('length', [1, (1 << 16) - 1, 1 << 16, 200_000])
def test_a_torn_line_of_any_length_is_cut_off(path, length):
    write(path)
    whole = path.read_bytes()
    path.write_bytes(whole + b'x' * length)
    assert len(replay(path)) == 3
    assert path.read_bytes() == whole


def test_a_file_of_one_torn_line_starts_anew(path):
    write(path, [])
    path.write_bytes(b'\0' * 100)  # what a power failure can leave of a line
    assert replay(path) == []
    assert path.read_bytes() == b''


@pytest.mark.parametrize(
    ('line', 'what'),
    [
        (b'{"id": "a", "sam', 'not valid JSON'),
        (b'', 'not valid JSON'),
        (b'\xff{}', 'not valid JSON'),
        (b'[' * 100_000, 'not valid JSON'),
        (b'[1]', 'a JSON list'),
        (b'{"id": "a"}', "one without field 'sample'"),
    ],
)
def test_a_damaged_line_in_the_middle_is_named(path, line, what):
    write(path)
    lines = path.read_bytes().splitlines()
    path.write_bytes(b'\n'.join([lines[0], line, lines[2], b'']))
    with pytest.raises(InputError) as caught:
        replay(path)
    assert f'{path}, line 2: expected' in str(caught.value)
    assert what in str(caught.value)


def test_a_repeated_record_is_named(path):
    write(path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b''.join([*lines, lines[1]]))
    with pytest.raises(InputError, match=r'line 4: repeats .*"id": "a", "sample": 1'):
        replay(path)


def test_a_second_writer_is_refused_and_does_no_harm(path):
    write(path)
    with Journal(path, KEY):
        with open(path, 'ab') as file:
            file.write(b'{"half of a li')  # the first writer is in the middle of a line
        before = path.read_bytes()
        with pytest.raises(InputError, match='another process is writing'):
            Journal(path, KEY)
        assert path.read_bytes() == before
    assert len(replay(path)) == 3


def test_a_full_disk_leaves_no_half_line(path, monkeypatch):
    write(path, RECORDS[:1])
    whole = path.read_bytes()
    real = os.write
    with Journal(path, KEY) as file:
        list(file.replay())
        monkeypatch.setattr(os, 'write', lambda descriptor, data: real(descriptor, data[:7]))
        with pytest.raises(OSError, match='disk is full'):
            file.append(RECORDS[1])
        assert path.read_bytes() == whole
        assert RECORDS[1] not in file
        monkeypatch.undo()
        file.append(RECORDS[1])
    assert replay(path) == [(1, RECORDS[0]), (2, RECORDS[1])]


def test_a_record_counts_only_once_it_is_synced(path, monkeypatch):
    def fail(descriptor):
        raise OSError('input/output error')

    with Journal(path, KEY) as file:
        monkeypatch.setattr(os, 'fsync', fail)
        with pytest.raises(OSError, match='input/output'):
            file.append(RECORDS[0])
        assert RECORDS[0] not in file
    assert path.read_bytes() == b''


def test_half_a_character_survives(path):
    write(path, [{'id': 'a\ud83d', 'sample': 0}])
    assert replay(path) == [(1, {'id': 'a\ud83d', 'sample': 0})]
    assert json.loads(path.read_text(encoding='utf-8'))


def test_without_a_key_lines_may_repeat(path):
    with Journal(path) as file:
        file.append({'fault': 'html'})
        file.append({'fault': 'html'})
    assert len(list(journal.read(path))) == 2
