"""A folder of a cache is made once, whoever asks for it and whoever is killed at it."""

import os
import pathlib
import signal
import stat
import subprocess
import sys
import time

import pytest

from qcrd_jax import files, sums
from qcrd_jax.data import caching
from qcrd_jax.errors import InputError
from tests.support import REPOSITORY

# Makes a folder of three files, a while for each, and says what it read.
MAKER = """
import pathlib, signal, sys, time
from qcrd_jax.data import caching

# A shell's background jobs ignore it, and so would what they start.
signal.signal(signal.SIGINT, signal.default_int_handler)

def make(folder):
    print('making', flush=True)
    for number in range(3):
        time.sleep(float(sys.argv[2]))
        (folder / f'{number}').write_text(f'{number}' * 1000)

def read(folder):
    return ' '.join(f'{path.name}{len(path.read_text())}' for path in sorted(folder.glob('?')))

print(caching.found_or_made(
    pathlib.Path(sys.argv[1]), key='k', make=make, read=read, what='it is made'
))
"""
MADE = '01000 11000 21000'


def maker(folder, pause):
    return subprocess.Popen(
        [sys.executable, '-c', MAKER, str(folder), str(pause)],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def made(folder, text='whole', key='k'):
    """What is found or made in this process."""

    def make(unfinished):
        (unfinished / 'file').write_text(text)

    return caching.found_or_made(
        folder, key=key, make=make, read=lambda it: (it / 'file').read_text(), what='it is made'
    )


def test_of_processes_that_ask_at_once_one_makes_it(tmp_path):
    folder = tmp_path / 'cache' / 'entry'
    processes = [maker(folder, 0.3) for _ in range(3)]
    printed = [process.communicate(timeout=120)[0] for process in processes]
    assert [text.splitlines()[-1] for text in printed] == [MADE] * 3
    assert ''.join(printed).count('making') == 1
    assert sums.faults(folder) == []
    assert sorted(path.name for path in folder.parent.iterdir()) == ['.entry.lock', 'entry']


@pytest.mark.parametrize('number', [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_who_waits_makes_it_when_the_maker_is_killed(tmp_path, number):
    folder = tmp_path / 'entry'
    first = maker(folder, 30)
    assert first.stdout.readline() == 'making\n'
    second = maker(folder, 0)
    time.sleep(0.5)
    assert second.poll() is None
    first.send_signal(number)
    first.communicate(timeout=60)
    assert second.communicate(timeout=60)[0] == f'making\n{MADE}\n'
    assert sorted(path.name for path in tmp_path.iterdir()) == ['.entry.lock', 'entry']


def test_other_folders_do_not_wait(tmp_path):
    process = maker(tmp_path / 'one', 60)
    try:
        assert process.stdout.readline() == 'making\n'
        assert made(tmp_path / 'two') == 'whole'
    finally:
        process.kill()
        process.communicate()


def test_what_cannot_be_made_leaves_what_is_there(tmp_path):
    folder = tmp_path / 'entry'
    made(folder)
    (folder / 'file').write_text('other')

    def fail(_):
        raise InputError('the source is gone')

    with pytest.raises(InputError, match=r'^the source is gone$'):
        caching.found_or_made(
            folder, key='k', make=fail, read=pathlib.Path.exists, what='it is made'
        )
    assert (folder / 'file').read_text() == 'other'
    assert sorted(path.name for path in tmp_path.iterdir()) == ['.entry.lock', 'entry']
    assert made(folder) == 'whole'


def test_a_full_disk_names_the_folder(tmp_path):
    folder = tmp_path / 'entry'

    def full(_):
        raise OSError(28, 'No space left on device')

    with pytest.raises(InputError) as caught:
        caching.found_or_made(
            folder, key='k', make=full, read=pathlib.Path.exists, what='it is made'
        )
    assert str(caught.value) == (
        f'data.cache: {folder} (it is not there) cannot be written ([Errno 28] No space left on '
        'device). Make room or delete the folder, or name another by --config.data.cache.'
    )


def test_what_is_made_wrong_is_an_error(tmp_path):
    def read(_):
        raise ValueError('no numbers')

    def make(folder):
        (folder / 'file').write_text('letters')

    with pytest.raises(InputError, match=r'just written and .* \(ValueError: no numbers\)'):
        caching.found_or_made(tmp_path / 'entry', key='k', make=make, read=read, what='it is made')


@pytest.mark.parametrize('name', ['.entry.7.tmp', 'incomplete.ABCDEF_entry'])
def test_leftovers_beside_it_are_removed_unless_somebody_is_at_work(tmp_path, name):
    folder = tmp_path / 'entry'
    made(folder)
    (tmp_path / name).mkdir()
    (tmp_path / name / 'file').write_text('half')
    with files.locked(tmp_path, name='.entry.lock'):
        assert made(folder) == 'whole'
    assert (tmp_path / name).exists()
    assert made(folder) == 'whole'
    assert not (tmp_path / name).exists()


def test_a_folder_that_nobody_may_write_to_serves_as_it_is(tmp_path, monkeypatch):
    folder = tmp_path / 'entry'
    made(folder)
    (tmp_path / '.entry.7.tmp').mkdir()
    (tmp_path / '.entry.lock').unlink()

    def read_only(*_, **__):
        raise OSError(30, 'Read-only file system')

    monkeypatch.setattr(os, 'open', read_only)  # what a lock is opened with
    assert made(folder) == 'whole'
    monkeypatch.undo()
    assert stat.S_ISDIR((tmp_path / '.entry.7.tmp').stat().st_mode)
    (folder / 'file').write_text('other')
    monkeypatch.setattr(os, 'open', read_only)
    with pytest.raises(InputError, match=r"entry \('file' was changed\) cannot be .*Read-only"):
        made(folder)


def test_a_folder_in_the_place_of_another_is_made_again(tmp_path):
    first, second = tmp_path / 'first', tmp_path / 'second'
    made(first, 'of the first', key='first')
    made(second, 'of the second', key='second')
    first.rename(tmp_path / 'third')
    second.rename(first)
    (tmp_path / 'third').rename(second)
    assert made(first, 'of the first', key='first') == 'of the first'
    assert made(second, 'of the second', key='second') == 'of the second'
