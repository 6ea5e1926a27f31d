"""JSON lines of questions and answers: read by question, in order, or refused by line."""

import json

import pytest

from qcrd_jax.data.schema import Example
from qcrd_jax.data.sources import question_records, raw_samples
from qcrd_jax.data.sources.raw_samples import QuestionFile
from qcrd_jax.data.splits import with_test
from qcrd_jax.errors import InputError
from tests.support.question_files import question, read


def write(path, records):
    path.write_text(''.join(json.dumps(record) + '\n' for record in records))
    return path


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
    assert len(QuestionFile(tmp_path / 'a.jsonl', 'text')) == 0


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
                'mentioned',
                'It is near. So the answer is (a).',
                input='Zoo or Park?',
                options=['Zoo', 'Park'],
                label='Zoo',
            ),
            question('listed', input='Where? A. Zoo B. Park', options=['Zoo', 'Park'], label='B'),
        ],
    )
    given, found, mentioned, listed = read(path, 'choice')['train']
    assert given.input == found.input == 'Where?\nAnswer Choices:\n(a) Zoo\n(b) Park'
    assert given.options == found.options == ('Zoo', 'Park')
    assert (given.label, found.label) == ('Park', 'Park')
    assert mentioned.input == 'Zoo or Park?\nAnswer Choices:\n(a) Zoo\n(b) Park'
    assert mentioned.samples[0].rationale == 'It is near.'
    assert (listed.input, listed.label) == ('Where? A. Zoo B. Park', 'Park')


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
        ('text', [answer('a', None)], "line 1: field 'text': expected a text, got None"),
        ('text', [answer('a', 'x', reasoning=3)], "field 'reasoning': expected a text, got 3"),
        (
            'text',
            [question('a', samples={'text': ['x']})],
            "field 'samples[0].teacher': expected a",
        ),
        ('text', [question('a', samples={'text': 'x'})], "field 'samples': expected a list"),
        ('text', [question('a', id='')], "line 1: field 'id': expected a text that is not empty"),
        ('text', [question('a', input=' \n')], "field 'input': expected a text that is not empty"),
        ('text', [question('a', label='\u3000')], "field 'label': expected a text that is not"),
        ('text', [question('a', id='\ud800')], "field 'id': expected Unicode, not half of a char"),
        ('text', [question('a', input='\udfffb')], "field 'input': expected Unicode, not half"),
        ('text', [question('a', label='\ud800')], "field 'label': expected Unicode, not half"),
        (
            'choice',
            [question('a', options=['x', 'y\ud800'], label='x')],
            "field 'options': expected Unicode, not half of a character ",
        ),
        ('choice', [question('a', options=['x', ' '], label='x')], 'a text that is not empty'),
        (
            'choice',
            [question('a', options=[f'option {n}' for n in range(27)], label='option 1')],
            "field 'options': expected at most 26 choices, got '27 of them'",
        ),
        ('choice', [question('a', options=['x', 'y'], label='(c)')], "one of x, y, got '(c)'"),
        (
            'choice',
            [question('a', options=['no', 'yes'], label='know')],
            "one of no, yes, got 'know'",
        ),
        ('choice', [question('a', options=['TT', 'tt'], label='a')], 'differ by more than case'),
        (
            'choice',
            [question('a', input='(a) yes (b) no', options=['no', 'yes'], label='a')],
            'expected the order in which the input has them (there (a) is another)',
        ),
        ('class', [question('a', options=['yes', 'no'], label='neutral')], 'or the classes entail'),
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


def test_a_question_without_an_id_has_its_line_and_answers_without_one_are_gathered(tmp_path):
    whole = [{'input': 'Same?', 'label': '1'}] * 2
    examples = read(write(tmp_path / 'a.jsonl', [*whole, {**whole[0], 'id': None}]))['train']
    assert [example.id for example in examples] == ['1', '2', '3']
    single = [{'input': 'Same?', 'label': '1', 'teacher': 't', 'text': text} for text in '12']
    (example,) = read(write(tmp_path / 'b.jsonl', single))['train']
    assert [sample.answer for sample in example.samples] == ['1', '2']


def test_null_is_a_field_that_is_not_there(tmp_path):
    fields = ('split', 'options', 'samples', 'teacher', 'text', 'sample', 'reasoning', 'messages')
    path = write(tmp_path / 'a.jsonl', [question('a', **dict.fromkeys(fields))])
    assert read(path) == {'train': [Example('a', 'a?', '1')]}


def test_options_that_no_answer_can_name_are_said_to_be_ignored(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(
        question_records.logging, 'log_first_n', lambda _, text, *rest: said.append(text)
    )
    path = write(tmp_path / 'a.jsonl', [question('a', options=[]), question('b')])
    read(path, 'equation')
    assert not said
    path = write(tmp_path / 'a.jsonl', [question('a', options=['1', '2'])])
    assert read(path, 'equation')['train'] == [Example('a', 'a?', '1')]
    assert "field 'options' is not read" in said[0]


def test_options_of_a_class_may_be_its_classes_in_any_order(tmp_path):
    path = write(tmp_path / 'a.jsonl', [question('a', options=['No', 'yes'], label='no')])
    (example,) = read(path, 'class', classes=['yes', 'no'])['train']
    assert (example.label, example.options, example.input) == ('no', ('yes', 'no'), 'a?')


def test_what_annotating_writes_of_choices_is_read_as_it_was(tmp_path):
    """Records hold the question as the student reads it, with its choices: they stay what it is."""
    options = [
        ['zoo', 'river'],
        ['river', 'river bank', 'bank'],
        ['(b)', 'b', 'c.'],
        ['zoo', 'zoo', 'park'],  # as CommonsenseQA has a hundred
        [' padded ', 'two\nlines', '"quoted"', '**bold**', 'A) x'],
        [chr(97 + n) for n in range(26)],
        ['1 / 2', '0.5', '- 3'],
    ]
    records = [question(str(n), options=o, label=o[1]) for n, o in enumerate(options)]
    first = read(write(tmp_path / 'a.jsonl', records), 'choice')['train']
    again = [
        {'id': e.id, 'input': e.input, 'label': e.label, 'options': list(e.options)} for e in first
    ]
    assert read(write(tmp_path / 'b.jsonl', again), 'choice')['train'] == first
    assert [e.input.count('Answer Choices:') for e in first] == [1] * len(options)


@pytest.mark.parametrize(
    ('answer_type', 'text', 'reasoning', 'rationale'),
    [
        ('equation', '42', 'Half of 84 is 42.', 'Half of 84 is 42.'),
        ('equation', r'\boxed{42}', '84 / 2 is 42.\nSo the answer is 42.', '84 / 2 is 42.'),
        ('equation', '42', '<think>84 / 2 is 42.</think>', '84 / 2 is 42.'),
        ('equation', '42', '84 / 2 is 42.<|im_end|>', '84 / 2 is 42.'),
        ('equation', '42', 'The answer is 42.', ''),
        ('equation', '42', '84 / 2. The answer is 41.', '84 / 2. The answer is 41.'),
        ('equation', '84 / 2 = 42. The answer is 42.', 'Hm.', '84 / 2 = 42.'),
        ('equation', 'It depends.', 'It is 42.', ''),  # no answer: nothing to explain
        ('choice', '(b)', 'Trains stop at a station.', 'Trains stop at a station.'),
        ('choice', '(b)', 'Trains stop there. So the answer is (b).', 'Trains stop there.'),
        ('choice', '(b)', 'Half \ud83d of it', 'Half \ufffd of it'),
    ],
)
@pytest.mark.parametrize('field', ['reasoning', 'reasoning_content'])
def test_reasoning_is_the_rationale_where_the_text_has_none(
    tmp_path, answer_type, text, reasoning, rationale, field
):
    options = {'options': ['bank', 'station'], 'label': 'b'} if answer_type == 'choice' else {}
    record = answer('a', text, **{field: reasoning}, **options)
    (example,) = read(write(tmp_path / 'a.jsonl', [record]), answer_type)['train']
    (sample,) = example.samples
    assert (sample.text, sample.rationale) == (text, rationale)
    inside = question('a', samples=[{'teacher': 't', 'text': text, field: reasoning}], **options)
    assert read(write(tmp_path / 'b.jsonl', [inside]), answer_type)['train'] == [example]


def test_what_was_thought_is_no_answer(tmp_path):
    record = answer('a', '', reasoning='3 * 4 = 12. The answer is 12.')
    (sample,) = read(write(tmp_path / 'a.jsonl', [record]))['train'][0].samples
    assert sample.answer == ''


def test_solutions_in_the_manner_of_gsm8k_are_samples(tmp_path):
    solution = (
        'Mia picks 6*4 = <<6*4=24>>24 plums on Monday.\nWith the 12 of Tuesday that is 24+12 = '
        '<<24+12=36>>36 plums.\n#### 36'
    )
    samples = [{'teacher': 'gsm8k', 'text': solution}]
    for label in ('36', '#### 36', solution):
        record = {'input': 'How many plums?', 'label': label, 'samples': samples}
        (example,) = read(write(tmp_path / 'a.jsonl', [record]))['train']
        assert (example.label, example.samples[0].answer) == ('36', '36')
        assert example.samples[0].rationale.startswith('Mia picks 6*4 = 24 plums')
        assert '####' not in example.samples[0].rationale


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path):
    path = write(tmp_path / 'a.jsonl', [question('a'), question('b')])
    splits = QuestionFile(path, 'text').splits()
    path.write_text('{"id": "a')
    with pytest.raises(InputError, match=r'a\.jsonl'):
        list(splits['train'])
