"""Digests of a folder are those of coreutils, and whatever was changed is named."""

import hashlib
import os
import shutil
import subprocess
import time

import pytest

from qcrd_jax import sums
from qcrd_jax.errors import InputError

CONTENTS = {
    'a.json': b'{}',
    'empty': b'',
    'in/one folder/é': b'\0\xff',
    'new\nline \\n\\': b'odd',
    '\\': b'a backslash',
    os.fsdecode(b'\xff.bin'): b'no Unicode',
}


@pytest.fixture
def folder(tmp_path):
    for name, data in CONTENTS.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    (tmp_path / '.lock').write_text('hidden')
    sums.write(tmp_path)
    return tmp_path


def test_they_are_the_digests_of_the_files(folder):
    expected = {name: hashlib.sha256(data).hexdigest() for name, data in CONTENTS.items()}
    assert sums.read(folder) == expected
    assert sums.faults(folder) == []
    assert sums.files_of(folder) == sorted(CONTENTS)


@pytest.mark.skipif(not shutil.which('sha256sum'), reason='no coreutils')
def test_coreutils_reads_and_writes_the_same(folder):
    def sha256sum(*arguments):
        command = ['sha256sum', *arguments]
        return subprocess.run(command, cwd=folder, capture_output=True, check=False)

    assert sha256sum('--check', '--strict', sums.NAME).returncode == 0
    assert sorted((folder / sums.NAME).read_bytes().splitlines()) == sorted(
        sha256sum(*map(os.fsencode, CONTENTS)).stdout.splitlines()
    )
    (folder / 'a.json').write_bytes(b'{ }')
    assert sha256sum('--check', sums.NAME).returncode == 1


@pytest.mark.parametrize(
    ('name', 'data', 'fault'),
    [
        ('a.json', b'{!', "'a.json' was changed"),
        ('a.json', b'{}\n', "'a.json' was changed"),
        ('empty', None, "'empty' is missing"),
        ('in/more', b'', "'in/more' is not listed"),
        (sums.NAME, None, 'SHA256SUMS is missing'),
        (sums.NAME, b'', 'SHA256SUMS: expected some lines of SHA-256, got 0 bytes'),
    ],
)
def test_what_was_changed_is_named(folder, name, data, fault):
    if data is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(data)
    assert sums.faults(folder) == [fault]


def test_a_folder_in_place_of_a_file_and_a_device_are_not_read(folder):
    (folder / 'a.json').unlink()
    (folder / 'a.json').mkdir()
    (folder / 'empty').unlink()
    (folder / 'empty').symlink_to('/dev/zero')
    assert sums.faults(folder) == ["'a.json' is missing", "'empty' is missing"]


def test_of_named_files_each_must_be_listed(folder):
    (folder / 'more').write_bytes(b'')
    assert sums.faults(folder, ['a.json']) == []
    assert sums.faults(folder, ['a.json', 'more', 'none']) == [
        "'more' is not listed",
        "'none' is missing",
    ]


def test_every_flipped_bit_of_the_digests_is_noticed(folder):
    path = folder / sums.NAME
    whole = path.read_bytes()
    for place in range(len(whole)):
        for bit in range(8):
            changed = bytearray(whole)
            changed[place] ^= 1 << bit
            path.write_bytes(changed)
            # `*` before a name says that the file was read as binary, which is all the same.
            alike = chr(whole[place]) == ' ' and chr(changed[place]) == '*'
            assert bool(sums.faults(folder)) != alike, (place, bit)
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert sums.faults(folder), length


@pytest.mark.parametrize(
    'line',
    ['', 'no digest', f'{"0" * 63}g  a', f'{"0" * 64}  /dev/zero', f'{"0" * 64}  a/../../b',
     f'{"0" * 64}  ', f'{"0" * 64} a'],
)  # fmt: skip
def test_damaged_digests_name_the_line_and_lead_nowhere_else(tmp_path, line):
    (tmp_path / sums.NAME).write_text(f'{"1" * 64}  b\n{line}\n')
    with pytest.raises(InputError, match=r'SHA256SUMS, line 2: expected a SHA-256 and the name'):
        sums.read(tmp_path)


def test_digests_beyond_all_measure_are_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(sums, '_LARGEST', 1000)
    (tmp_path / sums.NAME).write_text(f'{"1" * 64}  b\n' * 100)
    with pytest.raises(InputError, match='SHA256SUMS'):
        sums.read(tmp_path)


def test_some_are_written_anew_and_the_others_kept(folder, tmp_path_factory):
    source = tmp_path_factory.mktemp('source')
    (source / 'a.json').write_bytes(b'new')
    (folder / 'empty').unlink()
    before = sums.read(folder)
    sums.update(folder, ['a.json'], source=source)
    after = sums.read(folder)
    assert after == {
        name: hashlib.sha256(b'new').hexdigest() if name == 'a.json' else digest
        for name, digest in before.items()
        if name != 'empty'
    }
    assert sums.faults(folder) == ["'a.json' was changed"]  # until it is moved there
    os.replace(source / 'a.json', folder / 'a.json')
    assert sums.faults(folder) == []
    (folder / sums.NAME).write_bytes(b'\0')
    sums.update(folder, ['a.json'])
    assert sums.read(folder).keys() == {'a.json'}


def test_a_folder_with_digests_is_checked_and_one_without_is_not(folder):
    (folder / 'empty').write_bytes(b'!')
    sums.check(folder, ('*.json',))
    with pytest.raises(InputError) as caught:
        sums.check(folder, ('*.json', 'emp*'))
    message = str(caught.value)
    assert f"{folder}: 'empty' was changed" in message
    assert f'delete {folder / sums.NAME} to use it as it is' in message
    assert '\n' not in message
    (folder / sums.NAME).unlink()
    sums.check(folder, ('*',))


def test_a_file_is_read_once_until_it_changes(folder, monkeypatch):
    path = folder / 'a.json'
    read = []
    digest = sums._read_digest
    monkeypatch.setattr(sums, '_read_digest', lambda path: read.append(path) or digest(path))
    sums._known_digest.cache_clear()
    for _ in range(2):  # what was just written may change within the clock's step
        sums.digest(path)
    assert len(read) == 2
    monkeypatch.setattr(time, 'time', lambda: path.stat().st_mtime + 10)
    for _ in range(3):
        assert sums.digest(path) == hashlib.sha256(b'{}').hexdigest()
    assert len(read) == 3
    path.write_bytes(b'{}!')
    assert sums.digest(path) == hashlib.sha256(b'{}!').hexdigest()


def test_files_that_are_moved_take_their_digests_with_them(tmp_path):
    folder, other = tmp_path / 'folder', tmp_path / 'other'
    for place in (folder, other):
        place.mkdir()
    for name in ('kept', 'moved', 'lost'):
        (folder / name).write_text(name)
    sums.write(folder)
    (folder / 'moved').rename(other / 'moved')
    (folder / 'lost').unlink()
    sums.divide(folder, other)
    assert sums.faults(folder) == sums.faults(other) == []
    assert [*(sums.read(folder) or {})] == ['kept']
    assert [*(sums.read(other) or {})] == ['moved']
    (folder / 'kept').rename(other / 'kept')
    sums.divide(folder, tmp_path)
    assert sums.read(folder) is None
