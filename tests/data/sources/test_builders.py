"""What the TFDS datasets hold, and when a dataset is a new one."""

import json
import sys

import pyarrow
import pytest
from pyarrow import parquet

from qcrd_jax.config import base_config
from qcrd_jax.data.sources import builders, mwp, question_records
from qcrd_jax.data.sources.table import DATASETS
from qcrd_jax.data.summary import SplitCounts, prepare_tables
from qcrd_jax.errors import InputError
from tests.data.sources import test_dss


def data_config(**fields):
    config = base_config().data
    config.mwp.update({'train': 40, 'validation': 5, 'test': 10})
    config.update(fields)
    return config


def load(config, cache):
    """The examples by split."""
    dataset = builders.load(config, cache)
    return {split: tuple(examples) for split, examples in dataset.splits.items()}


def write_jsonl(path, number=30):
    """Writes samples of two teachers for the first `number` questions of `test_dss`."""
    with open(path, 'w') as file:
        for i in range(number):
            record = {
                'id': f'q{i}',
                'split': 'train' if i < number - 3 else 'test',
                'input': f'train question {i}  How many?',  # spaced otherwise
                'label': f'( {i}.0 + 1.0 )',
                'samples': [
                    {'teacher': 'a', 'text': f'{i} + 1. The answer is {i + 1}.'},
                    {'teacher': 'a', 'text': f'{i} + 1. The answer is {i + 1}.'},  # twice the same
                    {'teacher': 'b', 'text': f'{i} + 1. The answer is {i + 1}.'},
                    {'teacher': 'b', 'text': 'Well, it depends.'},
                ],
            }
            file.write(json.dumps(record) + '\n')
    return path


def test_mwp_comes_back_as_it_was_generated(tmp_path):
    splits = load(data_config(name='mwp'), tmp_path)
    generated = mwp.generate(mwp.Settings(train=40, validation=5, test=10))
    assert splits == {split: tuple(examples) for split, examples in generated.items()}
    assert 'tensorflow' not in sys.modules


def test_a_changed_parameter_is_another_dataset_and_an_unchanged_one_is_read_again(tmp_path):
    load(data_config(name='mwp'), tmp_path)
    (first,) = (tmp_path / 'mwp').glob('[!.]*')
    written = {path: path.stat().st_mtime_ns for path in first.rglob('*')}
    load(data_config(name='mwp'), tmp_path)
    assert {path: path.stat().st_mtime_ns for path in first.rglob('*')} == written
    config = data_config(name='mwp')
    config.mwp.teacher_temperature = 0.0
    hot, cold = load(data_config(name='mwp'), tmp_path), load(config, tmp_path)
    assert hot['train'] != cold['train']
    assert len(list((tmp_path / 'mwp').glob('[!.]*'))) == 2


def test_svamp_from_the_dss_layout(tmp_path):
    source = test_dss.write_dataset(tmp_path / 'dss' / 'svamp')
    config = data_config(name='svamp', source=str(source.parent))
    splits = load(config, tmp_path)
    assert {split: len(examples) for split, examples in splits.items()} == {
        'train': 27,
        'validation': 3,
        'test': 4,
    }
    assert splits['train'][0].samples[0].source == 'palm-540b'
    # A changed source is a new dataset.
    (source / 'svamp_test.json').write_text('{"input": "new", "label": "( 1 )"}\n')
    assert [e.input for e in load(config, tmp_path)['test']] == ['new']


def test_svamp_joined_with_raw_samples(tmp_path):
    source = test_dss.write_dataset(tmp_path / 'dss' / 'svamp')
    samples = write_jsonl(tmp_path / 'samples.jsonl', number=20)
    config = data_config(name='svamp', source=str(source), teacher_samples=str(samples))
    splits = load(config, tmp_path)
    by_id = {e.id: e for split in splits.values() for e in split}
    assert len(by_id) == 34  # questions and splits are those of the source
    example = by_id['svamp-train-0007']
    # What the source brought is replaced; a text that is drawn twice votes twice.
    answers = [(sample.source, sample.answer) for sample in example.samples]
    assert answers == [('a', '8'), ('a', '8'), ('b', '8'), ('b', '')]
    assert by_id['svamp-train-0025'].samples == ()  # no line has this question


def test_svamp_from_raw_samples_alone(tmp_path):
    samples = write_jsonl(tmp_path / 'samples.jsonl')
    as_samples = load(data_config(name='svamp', teacher_samples=str(samples)), tmp_path)
    as_source = load(data_config(name='svamp', source=str(samples)), tmp_path)
    assert as_samples == as_source
    assert {split: len(examples) for split, examples in as_samples.items()} == {
        'train': 24,
        'validation': 3,
        'test': 3,
    }


@pytest.mark.parametrize(('name', 'write'), [('cqa', test_dss.write_cqa)])
def test_other_datasets_from_the_dss_layout(tmp_path, name, write):
    source = write(tmp_path / 'dss' / name)
    splits = load(data_config(name=name, source=str(source.parent)), tmp_path)
    expected = test_dss.read(source, name, DATASETS[name].answer_type)
    assert splits == {split: tuple(examples) for split, examples in expected.items()}
    assert len(splits['test'][0].options) == 5


def test_custom_questions_and_their_answer_type(tmp_path):
    path = tmp_path / 'mine.jsonl'
    records = [{'id': str(i), 'input': f'q{i}', 'label': 'Yes'} for i in range(30)]
    path.write_text(''.join(json.dumps(record) + '\n' for record in records))
    config = data_config(
        name='custom', source=str(path), answer_type='class', classes=('yes', 'no')
    )
    dataset = builders.load(config, tmp_path)
    assert dataset.answer_type == 'class'
    assert {split: len(examples) for split, examples in dataset.splits.items()} == {
        'train': 24,
        'validation': 3,
        'test': 3,
    }
    assert dataset.splits['train'][0].label == 'yes'
    # Another way of reading the same file is another dataset.
    config.answer_type = 'text'
    other = builders.load(config, tmp_path)
    assert other.fingerprint != dataset.fingerprint
    assert other.splits['train'][0].label == 'Yes'
    config.source = ''
    with pytest.raises(InputError, match=r'data\.source: name the \.jsonl file'):
        builders.load(config, tmp_path)


def test_examples_are_read_as_they_are_asked_for(tmp_path):
    examples = builders.load(data_config(name='mwp'), tmp_path).splits['train']
    assert len(examples) == 40
    assert examples[1:3] == (examples[1], examples[2])
    assert examples[-1] == examples[39]
    assert [example.id for example in examples] == [examples[i].id for i in range(40)]
    with pytest.raises(IndexError):
        examples[40]


def test_a_dataset_of_many_shards_keeps_its_order(tmp_path, monkeypatch):
    monkeypatch.setattr(builders, '_SHARD', 7)
    splits = load(data_config(name='mwp'), tmp_path)
    generated = mwp.generate(mwp.Settings(train=40, validation=5, test=10))
    assert splits == {split: tuple(examples) for split, examples in generated.items()}
    assert len(list(tmp_path.rglob('mwp-train.array_record-*-of-00006'))) == 6


@pytest.mark.parametrize(
    ('line', 'message'),
    [
        ('{', 'line 31: not valid JSON'),
        ('{"id": "x"}', "line 31: field 'input': expected a text, got None"),
        ('{"id": "x", "split": "t", "input": "q", "label": "1"}', "field 'split': expected one of"),
        ('{"id": "q1", "split": "test", "input": "q", "label": "1"}', 'expected an id of its own'),
        (
            '{"id": "x", "split": "test", "input": "q", "label": "1", "samples": "no"}',
            "field 'samples': expected a list, got 'no'",
        ),
        (
            '{"id": "x", "input": "q", "label": "1", "samples": [{"teacher": "t"}]}',
            "field 'samples[0].text': expected a text, got None",
        ),
    ],
)
def test_a_malformed_line_is_named_and_nothing_is_left_behind(tmp_path, line, message):
    samples = write_jsonl(tmp_path / 'samples.jsonl')
    with open(samples, 'a') as file:
        file.write(line + '\n')
    with pytest.raises(InputError) as error:
        load(data_config(name='svamp', source=str(samples)), tmp_path / 'cache')
    assert message in str(error.value)
    assert str(samples) in str(error.value)
    assert not list((tmp_path / 'cache').rglob('*.array_record*'))


def test_missing_sources_are_named(tmp_path):
    for field in ('source', 'teacher_samples'):
        with pytest.raises(InputError, match=rf'data\.{field}.*nothing\.jsonl is no file'):
            config = data_config(name='svamp', source=str(dss_folder(tmp_path)))
            config[field] = str(tmp_path / 'nothing.jsonl')
            load(config, tmp_path)
    with pytest.raises(InputError, match='holds neither'):
        load(data_config(name='svamp', source=str(tmp_path / 'nothing')), tmp_path)
    with pytest.raises(InputError, match=r'data\.name'):
        load(data_config(name='snli'), tmp_path)


def dss_folder(tmp_path):
    folder = tmp_path / 'dss' / 'svamp'
    return folder if folder.is_dir() else test_dss.write_dataset(folder)


def test_samples_of_other_questions_are_refused(tmp_path):
    source = test_dss.write_dataset(tmp_path / 'dss' / 'svamp')
    path = tmp_path / 'samples.jsonl'
    path.write_text('{"id": "x", "split": "train", "input": "other", "label": "1"}\n')
    with pytest.raises(InputError, match='none of its questions is a question of data'):
        load(data_config(name='svamp', source=str(source), teacher_samples=str(path)), tmp_path)


def test_counts_by_teacher(tmp_path):
    config = data_config(name='svamp', source=str(write_jsonl(tmp_path / 'samples.jsonl')))
    counts = SplitCounts()
    for example in load(config, tmp_path)['train']:
        counts.add(example, 'equation', 5)
    a, b = counts.teachers['a'], counts.teachers['b']
    assert (a.answers, a.read, a.right, a.with_rationale) == (48, 48, 48, 48)
    assert (b.answers, b.read, b.right, b.with_rationale) == (48, 24, 24, 48)
    tables = prepare_tables({'train': counts}, {'train': 3})
    assert '| train | b       | 48      | 24 (50.0%)  | 24 (50.0%)  | 48 (100.0%)    |' in tables


def test_real_svamp_joined(shared_data, tmp_path):
    config = data_config(
        name='svamp',
        source=str(shared_data / 'dss'),
        teacher_samples=str(shared_data / 'teacher' / 'svamp_samples.jsonl'),
    )
    splits = load(config, tmp_path)
    assert {split: len(examples) for split, examples in splits.items()} == {
        'train': 720,
        'validation': 80,
        'test': 200,
    }
    # Four answers each for training questions; 12 are repeated or so, none is missing.
    assert min(len(example.samples) for example in splits['train']) == 4
    assert {len(example.samples) for example in splits['test']} == {2}


def test_a_part_of_the_training_split_is_drawn_once_and_grows(tmp_path):
    config = base_config().data
    config.name = 'mwp'
    config.mwp.update(train=40, validation=3, test=3, two_step=0.0)
    dataset = builders.load(config, tmp_path)
    everything = [example.id for example in dataset.splits['train']]
    parts = {share: dataset.with_part_of_train(share) for share in (0.01, 0.25, 0.5)}
    ids = {share: [example.id for example in part.splits['train']] for share, part in parts.items()}
    assert [len(names) for names in ids.values()] == [1, 10, 20]
    assert set(ids[0.01]) <= set(ids[0.25]) <= set(ids[0.5]) <= set(everything)
    assert ids[0.5] != everything[:20]  # drawn, and in the order of the dataset
    assert ids[0.5] == sorted(ids[0.5], key=everything.index)
    assert [example.id for example in parts[0.5].splits['train'][2:4]] == ids[0.5][2:4]
    again = builders.load(config, tmp_path).with_part_of_train(0.5).splits['train']
    assert [example.id for example in again] == ids[0.5]
    for part in parts.values():
        assert list(part.splits['test']) == list(dataset.splits['test'])
    assert len({part.fingerprint for part in (*parts.values(), dataset)}) == 4


def test_parquet_and_chat_messages_are_sources_too(tmp_path):
    """The same questions from JSON lines, a Parquet file, a folder of them, and as messages."""
    records = [
        {'id': str(i), 'input': f'q{i}?', 'label': '1', 'samples': [{'teacher': 't', 'text': '1'}]}
        for i in range(30)
    ]
    lines, file, folder = (tmp_path / name for name in ('a.jsonl', 'a.parquet', 'shards'))
    lines.write_text(''.join(json.dumps(record) + '\n' for record in records))
    folder.mkdir()
    for path, part in (
        (file, records),
        (folder / 'train-0.parquet', records[:10]),
        (folder / 'train-1.parquet', records[10:]),
    ):
        parquet.write_table(pyarrow.Table.from_pylist(part), path)
    chat = tmp_path / 'chat.jsonl'
    said = ({'role': 'user'}, {'role': 'assistant', 'content': '1'})
    chat.write_text(
        ''.join(
            json.dumps(
                {
                    'id': record['id'],
                    'label': '1',
                    'teacher': 't',
                    'messages': [{**said[0], 'content': record['input']}, said[1]],
                }
            )
            + '\n'
            for record in records
        )
    )
    sources = [str(path) for path in (lines, file, folder, chat)]
    read = [load(data_config(name='custom', source=source), tmp_path / 'c') for source in sources]
    assert len(read[0]['train']) == 24
    assert read[1:] == read[:1] * 3
    # As samples of another source.
    for source in sources:
        config = data_config(name='custom', source=str(lines), teacher_samples=source)
        assert load(config, tmp_path / 'c') == read[0]
    # A shard of another name is another dataset: its name may say its split.
    (folder / 'train-1.parquet').rename(folder / 'test-1.parquet')
    assert len(load(data_config(name='custom', source=str(folder)), tmp_path / 'c')['test']) == 20
    assert not [path for path in (tmp_path / 'c').iterdir() if path.is_file()]


def test_sources_may_be_called_as_patterns_are_and_caches_may_not(tmp_path):
    path = tmp_path / 'a**[1]' / 'mine?.jsonl'
    path.parent.mkdir()
    records = [{'id': str(i), 'input': f'q{i}', 'label': '1'} for i in range(30)]
    path.write_text(''.join(json.dumps(record) + '\n' for record in records))
    config = data_config(name='custom', source=str(path), teacher_samples=str(path))
    assert len(load(config, tmp_path)['train']) == 24
    with pytest.raises(InputError, match=r'^data\.cache: expected a path of Unicode characters'):
        load(config, tmp_path / 'c**')


def test_what_holds_no_question_is_named(tmp_path):
    path = tmp_path / 'a.jsonl'
    path.write_text('\n \n')
    with pytest.raises(InputError, match=r'a\.jsonl: holds no question'):
        load(data_config(name='custom', source=str(path)), tmp_path)
    with pytest.raises(InputError, match=r'data\.source: .* is a folder without \.parquet files'):
        load(data_config(name='custom', source=str(tmp_path)), tmp_path)
    with pytest.raises(InputError, match=r'data\.source: .*no\.parquet is no file'):
        load(data_config(name='custom', source=str(tmp_path / 'no.parquet')), tmp_path)
    with pytest.raises(InputError, match=r'data\.source: expected a path'):
        load(data_config(name='custom', source='a\0b'), tmp_path)


@pytest.mark.parametrize(('name', 'duplicates'), [('cqa', 146)])
def test_released_choices_have_their_letters_and_no_others(shared_data, name, duplicates):
    """Inputs stay those of the release, also where they are written anew, as annotating does."""
    source = shared_data / 'dss' / name
    splits = test_dss.dss.read(source, name, DATASETS[name].question, 'choice')
    examples = [example for split in splits.values() for example in split]
    assert sum(len(set(e.options)) < len(e.options) for e in examples) == duplicates
    for e in examples:
        record = {'input': e.input, 'label': e.label, 'options': list(e.options)}
        parsed = question_records.parse(record, 1, str, 'choice', ()).example
        assert (parsed.input, parsed.label, parsed.options) == (e.input, e.label, e.options)
