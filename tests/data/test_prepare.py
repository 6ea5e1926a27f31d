"""What `prepare` counted is counted again where it was changed."""

import pytest
from absl import logging

from qcrd_jax import files, sums
from qcrd_jax.data import corpus, prepare
from qcrd_jax.data.sources import builders
from tests.support.runs import small_config


@pytest.fixture(scope='module')
def read(tmp_path_factory):
    folder = tmp_path_factory.mktemp('data')
    config = small_config()
    dataset = builders.load(config.data, folder)
    return corpus.build_corpus(config, dataset, folder, positives='self_consistency', joint=False)


@pytest.fixture
def said(monkeypatch):
    lines = []
    monkeypatch.setattr(logging, 'error', lambda text, *args: lines.append(text % args))
    return lines


def test_what_was_changed_is_counted_again(read, tmp_path, said):
    files.write_json(tmp_path / 'config.json', {'seed': 0})
    assert not prepare.whole(tmp_path)
    assert said == []  # nothing was counted yet
    prepare.write_counts(read, 3, tmp_path)
    assert prepare.whole(tmp_path)
    names = ('votes.jsonl', 'leaks.jsonl', 'prepare.json', 'config.json')
    assert sums.read(tmp_path).keys() == set(names)
    clean = {name: (tmp_path / name).read_bytes() for name in names}
    for name in names:
        for data in (clean[name] + b' ', None):
            if data is not None:
                (tmp_path / name).write_bytes(data)
            elif name != 'config.json':
                (tmp_path / name).unlink()
            else:
                continue
            assert not prepare.whole(tmp_path), name
            assert repr(name) in said.pop() and said == []
            (tmp_path / 'config.json').write_bytes(clean['config.json'])
            prepare.write_counts(read, 3, tmp_path)
            assert prepare.whole(tmp_path)
            assert {name: (tmp_path / name).read_bytes() for name in names} == clean
    (tmp_path / sums.NAME).unlink()
    assert not prepare.whole(tmp_path)
    assert said == [f'{tmp_path}: SHA256SUMS is missing; the data is counted again.']
