"""The table of datasets: one entry is all that a new dataset takes."""

import json
import subprocess
import sys

import pytest

from qcrd_jax import config as configuration
from qcrd_jax import validation
from qcrd_jax.data.corpus import build_corpus
from qcrd_jax.data.prepare import write_counts
from qcrd_jax.data.schema import Example, TeacherSample
from qcrd_jax.data.sources import builders, official, questions
from qcrd_jax.data.sources.table import DATASETS, DatasetEntry, Generator, task
from qcrd_jax.errors import InputError
from qcrd_jax.report import write_report
from qcrd_jax.teacher import prompts
from tests.data.sources import test_dss


def settings(**fields):
    """A configuration whose tokenizer is trained on the data."""
    config = configuration.base_config()
    config.student.update(pretrained='', size='tiny', vocab_size=300)
    config.data.update(fields)
    return config


def test_a_dataset_is_added_by_one_entry(tmp_path, monkeypatch):
    entry = DatasetEntry(
        'Toy problems.', answer_type='equation', question=questions.plain, note='toys, not a test'
    )
    source = test_dss.write_dataset(tmp_path / 'toy_problems', name='toy_problems')
    config = settings(name='toy_problems', source=str(source))
    with pytest.raises(InputError, match=r'--config\.data\.name: expected svamp'):
        validation.validate(config)

    monkeypatch.setitem(DATASETS, 'toy_problems', entry)
    validation.validate(config)
    dataset = builders.load(config.data, tmp_path / 'data')
    assert dataset.fingerprint.startswith('toy_problems/')
    assert (tmp_path / 'data' / dataset.fingerprint / 'dataset_info.json').is_file()
    assert dataset.answer_type == 'equation'
    corpus = build_corpus(config, dataset, tmp_path, positives='self_consistency', joint=False)
    assert {split: len(encoded) for split, encoded in corpus.encoded.items()} == {
        'train': 27,
        'validation': 3,
        'test': 4,
    }
    assert corpus.encoded['train'].counts()['positives'] == 27
    write_counts(corpus, 5, tmp_path)
    counts = json.loads((tmp_path / 'prepare.json').read_text())
    assert (counts['train']['samples'], counts['train']['vote_accuracy']) == (27, 1.0)

    # The teacher's prompt, the judge's words and the report know it too.
    assert prompts.load('toy_problems', 'text').source == 'equation.txt'
    assert task('toy_problems', 'text') == 'math word problem'
    (tmp_path / 'summary.json').write_text('{"dataset": "toy_problems"}')
    assert 'toys, not a test' in write_report(tmp_path).read_text()
    # It is no download, and says what to give instead.
    config.data.source = ''
    with pytest.raises(InputError, match=r'data\.source: name a folder in the DSS layout or the'):
        builders.load(config.data, tmp_path / 'data')


def test_a_synthetic_dataset_is_added_by_one_entry(tmp_path, monkeypatch):
    def count_to(chosen):
        sample = TeacherSample('1 + 1 = 2.', '1 + 1 = 2.', '2', 'me')
        examples = [Example(str(i), f'question {i}', '2', (sample,)) for i in range(chosen['up'])]
        return {'train': examples, 'validation': examples[:2], 'test': examples[:1]}

    entry = DatasetEntry('Counted.', answer_type='equation', generator=Generator(dict, count_to))
    monkeypatch.setitem(DATASETS, 'counted', entry)
    config = settings()
    config.unlock()
    config.data.counted = {'up': 7}
    config.data.name = 'counted'
    dataset = builders.load(config.data, tmp_path)
    assert [example.id for example in dataset.splits['train']] == list('0123456')
    config.data.counted.up = 8
    assert len(builders.load(config.data, tmp_path).splits['train']) == 8


def test_what_was_prepared_is_found_again(tmp_path):
    """Fingerprints of sources that never change: another one would prepare everything anew."""
    source = test_dss.write_dataset(tmp_path / 'svamp')
    config = settings(name='svamp', source=str(source))
    assert builders.load(config.data, tmp_path).fingerprint == 'svamp/142eb977085cea64/4.0.0'
    assert builders.sources_digest(config.data) == '5a861e1683391501'
    config = settings(name='mwp')
    config.data.mwp.update(train=40, validation=5, test=10)
    assert builders.load(config.data, tmp_path).fingerprint == 'mwp/842b30fe0329ea68/4.0.0'


@pytest.mark.parametrize('name', [name for name, entry in DATASETS.items() if entry.download])
def test_what_can_be_downloaded_says_how_large_it_is(name):
    entry = DATASETS[name]
    assert {'train', 'test'} <= entry.download.sizes.keys() <= {'train', 'valid', 'test'}
    assert entry.question is not None  # a download is in the DSS layout
    files = entry.download.files
    assert len({file.name for file in files}) == len(files)


def test_a_release_that_there_is_not_is_refused(tmp_path):
    archived = official.Download({'train': 1}, archived=True)
    with pytest.raises(InputError, match=r'data\.release: expected dss of toys, got'):
        official.fetch('toys', archived, tmp_path, 'original')


def test_the_table_is_read_without_tfds():
    code = (
        'import sys, qcrd_jax.data.sources.table; '
        'print([name for name in ("tensorflow_datasets", "transformers") if name in sys.modules])'
    )
    printed = subprocess.run([sys.executable, '-c', code], capture_output=True, check=True).stdout
    assert printed == b'[]\n'
