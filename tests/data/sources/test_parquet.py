"""Questions from Parquet are those of JSON lines, row by row."""

import json
import subprocess
import sys

import pyarrow
import pytest
from pyarrow import parquet as arrow

from qcrd_jax.data.sources import parquet
from qcrd_jax.data.sources.raw_samples import QuestionFile
from qcrd_jax.errors import InputError
from tests.support.question_files import question, read


def write(path, records, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    names = dict.fromkeys(name for record in records for name in record)
    records = [{**names, **record} for record in records]
    arrow.write_table(pyarrow.Table.from_pylist(records), path, **options)
    return path


RECORDS = [
    question('a', samples=[{'teacher': 't', 'text': 'So 1. The answer is 1.', 'sample': 1}]),
    question('b', split='test', samples=[]),
    question('ü', samples=[{'teacher': 't', 'text': '2'}, {'teacher': 'u', 'text': '#### 3'}]),
    question('d', split='dev', samples=[{'teacher': 't', 'text': '1', 'reasoning': 'It is odd.'}]),
]


def test_rows_are_read_as_lines_are(tmp_path):
    lines = tmp_path / 'a.jsonl'
    lines.write_text(''.join(json.dumps(record) + '\n' for record in RECORDS))
    expected = read(lines)
    assert len(expected['train']) == 2
    assert read(write(tmp_path / 'a.parquet', RECORDS)) == expected
    # In groups of one row, with columns that nobody asked for, and with a copy of its own.
    wide = [{**record, 'embedding': [0.5] * 9} for record in RECORDS]
    path = write(tmp_path / 'b.PARQUET', wide, row_group_size=1)
    assert read(path, scratch=tmp_path / 'scratch') == expected
    assert list((tmp_path / 'scratch').iterdir()) == []
    # One object of lists, as `datasets` writes a sequence of objects.
    columns = [
        {
            **record,
            'samples': {
                name: [sample.get(name) for sample in record['samples']]
                for name in ('teacher', 'text', 'sample', 'reasoning')
            },
        }
        for record in RECORDS
    ]
    assert read(write(tmp_path / 'c.parquet', columns)) == expected


def test_answers_of_a_question_are_gathered_from_more_rows_than_a_batch(tmp_path):
    number = 2 * parquet._BATCH + 7
    records = [
        question(f'{row % 100}', teacher='t', text=f'The answer is {row}.') for row in range(number)
    ]
    examples = read(write(tmp_path / 'a.parquet', records, row_group_size=50))['train']
    assert [example.id for example in examples] == [str(row) for row in range(100)]
    for place, example in enumerate(examples):
        expected = [str(row) for row in range(number) if row % 100 == place]
        assert [sample.answer for sample in example.samples] == expected


def test_messages_and_options_are_read_from_their_columns(tmp_path):
    chat = [
        {'messages': [{'role': 'user', 'content': 'q'}, {'role': 'assistant', 'content': '1',
         'reasoning_content': 'It is odd.'}], 'label': '1'}
    ]  # fmt: skip
    (example,) = read(write(tmp_path / 'a.parquet', chat))['train']
    assert (example.input, example.samples[0].rationale) == ('q', 'It is odd.')
    path = write(tmp_path / 'b.parquet', [question('a', options=['no', 'yes'], label='b')])
    (example,) = read(path, 'choice')['train']
    assert example.input == 'a?\nAnswer Choices:\n(a) no\n(b) yes'


def test_a_folder_is_its_shards_in_order_with_the_splits_of_their_names(tmp_path):
    hub = tmp_path / 'mine'
    write(hub / 'data' / 'train-00001-of-00002.parquet', [question('b'), question('c')])
    write(hub / 'data' / 'train-00000-of-00002.parquet', [question('a')])
    write(hub / 'data' / 'test-00000-of-00001.parquet', [question('d', split=None)])
    write(
        hub / 'data' / 'validation.parquet',
        [question('e', split='train'), question('f', split=None)],
    )
    (hub / 'README.md').write_text('x')
    for folder in (hub, hub / 'data'):
        splits = {name: [e.id for e in part] for name, part in read(folder).items()}
        # A row that says its split belongs to it.
        assert splits == {'train': ['a', 'b', 'c', 'e'], 'validation': ['f'], 'test': ['d']}
    write(hub / 'data' / 'train-00001-of-00002.parquet', [question('b'), question('c', label='x')])
    with pytest.raises(InputError, match=r'train-00001-of-00002\.parquet, row 2: field .label'):
        read(hub)
    write(hub / 'data' / 'train-00001-of-00002.parquet', [question('b'), question('d')])
    with pytest.raises(InputError, match=r'train-00001.*row 2: field .id.* row 1 of test-00000-of'):
        read(hub)


@pytest.mark.parametrize(
    ('records', 'message'),
    [
        (
            [question('a'), question('b', label=None)],
            "row 2: field 'label': expected a text, got None",
        ),
        (
            [question('a'), question('a')],
            "row 2: field 'id': expected an id of its own, got one that row 1",
        ),
        (
            [question('a', input=b'x')],
            "row 1: field 'input': expected texts, numbers, lists and str",
        ),
        (
            [{'question': 'x', 'answer': 'y'}],
            'expected columns "input" and "label", got question, an',
        ),
    ],
)
def test_a_bad_row_is_named(tmp_path, records, message):
    path = write(tmp_path / 'a.parquet', records)
    with pytest.raises(InputError) as error:
        QuestionFile(path, 'equation')
    assert message in str(error.value)
    assert str(path) in str(error.value)


def test_what_is_no_parquet_is_refused(tmp_path):
    whole = write(tmp_path / 'whole.parquet', RECORDS).read_bytes()
    for content in (b'', b'{"id": "a"}\n', b'PAR1' * 9, whole[: len(whole) // 2], whole[:-1]):
        (tmp_path / 'a.parquet').write_bytes(content)
        with pytest.raises(InputError, match=r'a\.parquet: cannot be read as Parquet'):
            QuestionFile(tmp_path / 'a.parquet', 'text')
    with pytest.raises(InputError, match=r'no\.parquet: cannot be read \(No such file'):
        QuestionFile(tmp_path / 'no.parquet', 'text')


def test_a_path_is_no_pattern(tmp_path):
    path = write(tmp_path / 'a**[1]?' / 'b*.parquet', RECORDS)
    write(tmp_path / 'a**[1]?' / 'b1.parquet', [question('other')])
    assert [e.id for e in read(path)['train']] == ['a', 'ü']


def test_pyarrow_is_imported_when_it_is_needed():
    code = 'import sys, qcrd_jax.data.sources.raw_samples; print("pyarrow" in sys.modules)'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == 'False'


@pytest.mark.parametrize('repeated', [False, True])
def test_what_decodes_to_much_more_than_it_takes_is_refused(tmp_path, monkeypatch, repeated):
    path = tmp_path / 'a.parquet'
    if repeated:  # one value of 64 kB, not packed, and 300 rows that refer to it
        monkeypatch.setattr(parquet, '_SMALL_FILE', 1 << 20)
        table = pyarrow.table({'input': [' ' * (1 << 16)] * 300, 'label': ['1'] * 300})
        arrow.write_table(table, path, compression='NONE')
    else:
        table = pyarrow.table({'input': [' ' * (4 << 20)], 'label': ['1']})
        arrow.write_table(table, path, compression='ZSTD')
    message = '256 rows decode to' if repeated else "column 'input' unpacks from"
    with pytest.raises(InputError, match=rf'a\.parquet: .*{message}'):
        list(parquet.rows(path))
