"""A prepared dataset that is not whole is made again, or is an error that says so."""

import os
import shutil

import pytest
from absl import logging

from qcrd_jax import sums
from qcrd_jax.errors import InputError
from tests.data.sources.test_builders import data_config, load, write_jsonl


def flip(path, number):
    data = bytearray(path.read_bytes())
    data[number % len(data)] ^= 4
    path.write_bytes(data)


def _other_records(folder):
    """Puts a shard of another number of records in the place of one."""
    name = 'mwp-test.array_record-00000-of-00001'
    shutil.copy(folder / 'mwp-validation.array_record-00000-of-00001', folder / name)


DAMAGE = {
    'a flip in a shard': lambda folder: flip(folder / 'mwp-train.array_record-00000-of-00001', 999),
    'a flip in its information': lambda folder: flip(folder / 'dataset_info.json', 77),
    'a flip in its features': lambda folder: flip(folder / 'features.json', 300),
    'a flip in its digests': lambda folder: flip(folder / sums.NAME, 100),
    'no digests': lambda folder: (folder / sums.NAME).unlink(),
    'a shard less': lambda folder: (folder / 'mwp-test.array_record-00000-of-00001').unlink(),
    'a truncated shard': lambda folder: os.truncate(
        folder / 'mwp-test.array_record-00000-of-00001', 60_000
    ),
    'deep nesting': lambda folder: (folder / 'dataset_info.json').write_text('[' * 100_000),
    'no information': lambda folder: (folder / 'dataset_info.json').unlink(),
    'other information': lambda folder: (folder / 'dataset_info.json').write_text('{}'),
    'another number of records': _other_records,
    'one record less': lambda folder: (folder / 'dataset_info.json').write_text(
        (folder / 'dataset_info.json').read_text().replace('"40"', '"39"')
    ),
    'a file more': lambda folder: (folder / 'more').write_text(''),
}


@pytest.fixture
def said(monkeypatch):
    """The lines of the log that are loud."""
    lines = []
    monkeypatch.setattr(logging, 'error', lambda text, *args: lines.append(text % args))
    return lines


# What a dataset's own files contradict, whatever its digests say.
SEEN = ('a shard less', 'a truncated shard', 'deep nesting', 'no information')
SEEN += ('another number of records', 'one record less')


@pytest.mark.parametrize(
    ('damage', 'summed'), [(each, False) for each in DAMAGE] + [(each, True) for each in SEEN]
)
def test_a_damaged_dataset_is_made_again(tmp_path, damage, summed, said):
    whole = load(data_config(name='mwp'), tmp_path)
    (folder,) = (tmp_path / 'mwp').glob('*/[!.]*')
    DAMAGE[damage](folder)
    if summed:  # by somebody who did not look at it
        sums.write(folder)
    assert said == []
    assert load(data_config(name='mwp'), tmp_path) == whole
    (line,) = said
    assert line.startswith(f'{folder} is not whole (') and line.endswith('is prepared again.')
    assert load(data_config(name='mwp'), tmp_path) == whole
    assert len(said) == 1


def test_a_damaged_dataset_without_its_source_is_an_error_and_stays(tmp_path):
    samples = write_jsonl(tmp_path / 'samples.jsonl')
    config = data_config(name='svamp', source=str(samples))
    load(config, tmp_path / 'cache')
    (folder,) = (tmp_path / 'cache' / 'svamp').glob('*/[!.]*')
    flip(folder / 'dataset_info.json', 77)
    left = {path: path.read_bytes() for path in folder.iterdir()}
    samples.unlink()
    with pytest.raises(InputError, match=r'data\.source: .*samples\.jsonl is no file'):
        load(config, tmp_path / 'cache')
    assert {path: path.read_bytes() for path in folder.iterdir()} == left


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, monkeypatch):
    class Full:
        def __init__(self, *_):
            pass

        def write(self, _):
            raise RuntimeError('write() failed: No space left on device; writing x; at byte 9')

    monkeypatch.setattr('array_record.python.array_record_module.ArrayRecordWriter', Full)
    with pytest.raises(InputError) as caught:
        load(data_config(name='mwp'), tmp_path)
    message = str(caught.value)
    assert message.startswith(f'data.cache: {tmp_path}/mwp/')
    assert 'cannot be written (write() failed: No space left on device). Make room' in message
    assert not [path for path in tmp_path.rglob('*') if path.is_file() and path.suffix != '.lock']
