"""JSON lines of questions and answers: read by question, in order, or refused by line."""

import json

import pytest

from qcrd_jax.data.schema import Example
from qcrd_jax.data.sources import raw_samples
from qcrd_jax.data.sources.raw_samples import QuestionFile
from qcrd_jax.data.splits import with_test
from qcrd_jax.errors import InputError


def write(path, records):
    path.write_text(''.join(json.dumps(record) + '\n' for record in records))
    return path


def read(path, answer_type='equation', **options):
    splits = QuestionFile(path, answer_type, **options).splits()
    return {split: list(examples) for split, examples in splits.items()}


def question(name, **fields):
    return {'id': name, 'input': f'{name}?', 'label': '1', **fields}


def answer(name, text, teacher='t', **fields):
    return question(name, teacher=teacher, text=text, **fields)


def test_answers_of_a_question_are_gathered_from_wherever_they_are(tmp_path):
    path = write(
        tmp_path / 'a.jsonl',
        [
            answer('b', 'So 1. The answer is 1.', split='test'),
            answer('a', 'The answer is 2.'),
            answer('b', 'The answer is 3.', split='test'),
            question('c'),
            answer('a', 'The answer is 2.', teacher='u'),
            answer('a', 'The answer is 2.'),  # drawn twice: it counts twice
        ],
    )
    splits = read(path)
    assert [example.id for example in splits['train']] == ['a', 'c']  # as they first appear
    a, c = splits['train']
    assert [(s.source, s.answer) for s in a.samples] == [('t', '2'), ('u', '2'), ('t', '2')]
    assert c.samples == ()
    (b,) = splits['test']
    assert [s.answer for s in b.samples] == ['1', '3']
    assert b.samples[0].rationale == 'So 1.'
    assert list(splits) == ['train', 'test']


def test_numbered_answers_are_in_the_order_of_their_numbers(tmp_path):
    texts = [answer('a', f'The answer is {n}.', sample=n) for n in (2, 0, 1)]
    (example,) = read(write(tmp_path / 'a.jsonl', texts))['train']
    assert [sample.answer for sample in example.samples] == ['0', '1', '2']
    # Those of two teachers may have the same numbers.
    texts += [answer('a', 'The answer is 3.', teacher='u', sample=0)]
    (example,) = read(write(tmp_path / 'b.jsonl', texts))['train']
    assert [sample.answer for sample in example.samples] == ['0', '3', '1', '2']


def test_blank_lines_and_line_ends_do_not_matter(tmp_path):
    path = tmp_path / 'a.jsonl'
    lines = [json.dumps(question(name, input='größer?')) for name in 'abc']
    path.write_bytes('\r\n\r\n'.join(lines).encode())  # no line end after the last
    assert [example.id for example in read(path)['train']] == ['a', 'b', 'c']
    assert {example.input for example in read(path)['train']} == {'größer?'}


def test_an_empty_file_holds_no_split(tmp_path):
    (tmp_path / 'a.jsonl').write_text('\n')
    assert read(tmp_path / 'a.jsonl') == {}


def test_half_a_character_is_replaced(tmp_path):
    path = tmp_path / 'a.jsonl'
    path.write_text(json.dumps(answer('a', 'cut \ud83d')) + '\n' + json.dumps(question('b')))
    (sample,) = read(path)['train'][0].samples
    assert sample.text == 'cut \N{REPLACEMENT CHARACTER}'


def test_choices_are_given_or_found_and_labels_are_put_in_their_words(tmp_path):
    path = write(
        tmp_path / 'a.jsonl',
        [
            question('given', input='Where?', options=['Zoo', 'Park'], label='(b)'),
            question('found', input='Where?\nAnswer Choices:\n(a) Zoo\n(b) Park', label='park'),
            answer(
                'inline',
                'It is near. So the answer is (a).',
                input='Zoo or Park?',
                options=['Zoo', 'Park'],
                label='Zoo',
            ),
        ],
    )
    given, found, inline = read(path, 'choice')['train']
    assert given.input == found.input == 'Where?\nAnswer Choices:\n(a) Zoo\n(b) Park'
    assert given.options == found.options == ('Zoo', 'Park')
    assert (given.label, found.label) == ('Park', 'Park')
    assert inline.input == 'Zoo or Park?'  # the choices are in it already
    assert inline.samples[0].rationale == 'It is near.'


def test_classes_are_those_of_the_dataset(tmp_path):
    path = write(tmp_path / 'a.jsonl', [question('a', label='Negative.')])
    (example,) = read(path, 'class', classes=['positive', 'negative'])['train']
    assert (example.label, example.options) == ('negative', ('positive', 'negative'))


@pytest.mark.parametrize(
    ('answer_type', 'records', 'message'),
    [
        ('equation', [question('a', label='many')], "line 1: field 'label': expected an answer of"),
        (
            'choice',
            [question('a', options=['x', 'y'], label='z')],
            "label': expected an answer of type 'choice', one of x, y, got 'z'",
        ),
        ('choice', [question('a', options=['x'])], "field 'options': expected at least two"),
        ('choice', [question('a', options='xy')], "field 'options': expected a list of texts"),
        ('class', [question('a', label='banana')], 'one of entailment, neutral, contradiction'),
        ('text', [{'id': 'a', 'input': 'q'}], "line 1: field 'label': expected a text, got None"),
        ('text', [{'id': 7, 'input': 'q', 'label': 'l'}], "field 'id': expected a text, got 7"),
        ('text', [question('a', split=['x'])], "field 'split': expected one of train"),
        ('text', [question('a'), question('a')], "line 2: field 'id': expected an id of its own"),
        ('text', [answer('a', 'x'), question('a')], 'got one that line 1 has too'),
        ('text', [question('a'), answer('a', 'x')], "line 2: field 'id': expected an id of its"),
        (
            'text',
            [answer('a', 'x'), answer('b', 'x'), answer('a', 'x', label='2')],
            'line 3: expected the question of that id as it was, got one that line 1',
        ),
        (
            'text',
            [answer('a', 'x', sample=0), answer('b', 'x', sample=0), answer('a', 'y', sample=0)],
            "line 3: field 'sample': expected a number of its own, got that of line 1",
        ),
        ('text', [answer('a', 'x', sample='0')], "field 'sample': expected a number from 0"),
        ('text', [answer('a', 3)], "line 1: field 'text': expected a text, got 3"),
        ('text', [question('a', samples=[3])], "field 'samples[0]': expected an object, got 3"),
    ],
)
def test_a_bad_line_is_named(tmp_path, answer_type, records, message):
    path = write(tmp_path / 'a.jsonl', records)
    with pytest.raises(InputError) as error:
        QuestionFile(path, answer_type)
    assert message in str(error.value)
    assert str(path) in str(error.value)


def test_bytes_that_are_no_text_are_refused(tmp_path):
    (tmp_path / 'a.jsonl').write_bytes(b'\xff\xfe{}')
    with pytest.raises(InputError, match='not UTF-8 text'):
        QuestionFile(tmp_path / 'a.jsonl', 'text')


def test_join_matches_by_text_and_by_id_where_texts_repeat(tmp_path):
    path = write(
        tmp_path / 'a.jsonl',
        [
            answer('x', 'first', input='Same   text?'),
            answer('y', 'second', input='Same text?'),
            answer('z', 'third', input='Other?'),
        ],
    )
    splits = {
        'train': [
            Example('y', 'Same text?', '1'),
            Example('x', 'Same text?', '1'),
            Example('q', 'Same\ntext?', '1'),  # an id that the file does not know
            Example('r', 'Unknown?', '1'),
        ],
        'test': [Example('s', 'Other?', '1')],
    }
    joined = raw_samples.join(splits, QuestionFile(path, 'text'), 'text')
    texts = [[sample.text for sample in example.samples] for example in joined['train']]
    assert texts == [['second'], ['first'], ['first'], []]
    assert [e.samples[0].text for e in joined['test']] == ['third']
    assert len(joined['train']) == 4


def test_nothing_in_common_is_refused_once_all_has_been_read(tmp_path):
    path = write(tmp_path / 'a.jsonl', [answer('x', 'first')])
    splits = {'train': [Example('a', 'A?', '1')], 'test': [Example('b', 'B?', '1')]}
    joined = raw_samples.join(splits, QuestionFile(path, 'text'), 'text')
    assert [example.samples for example in joined['train']] == [()]
    with pytest.raises(InputError, match='none of its questions is a question of data'):
        list(joined['test'])


def test_a_tenth_is_held_out_as_test_split_where_there_is_none(tmp_path):
    path = write(tmp_path / 'a.jsonl', [question(str(i)) for i in range(20)])
    splits = with_test(QuestionFile(path, 'text').splits())
    assert (len(splits['train']), len(splits['test'])) == (18, 2)
    assert sorted(int(e.id) for split in splits.values() for e in split) == list(range(20))
    given = write(tmp_path / 'b.jsonl', [question('a'), question('b', split='test')])
    assert [e.id for e in with_test(QuestionFile(given, 'text').splits())['test']] == ['b']
