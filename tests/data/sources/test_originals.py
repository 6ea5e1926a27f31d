"""The files of each dataset's authors become the files of Distilling step-by-step."""

import csv
import io
import json
import random
import tracemalloc

import numpy as np
import pytest

from qcrd_jax.errors import InputError
from tests.data.sources.releases import archive, fetch, put, read

pytestmark = pytest.mark.usefixtures('offline')


def jsonl(records):
    return ''.join(json.dumps(record) + '\n' for record in records)


# --- SVAMP ----------------------------------------------------------------------------------------


def svamp_problem(record):
    body, question = record['input'].rsplit('\n', 1)
    return {
        'ID': '',
        'Body': body,
        'Question': question,
        'Equation': record['label'],
        'Answer': 1.0,
    }


def test_svamp_is_what_dss_wrote_to_the_byte(shared_data, tmp_path):
    real = shared_data / 'dss' / 'svamp'
    records = read(real / 'svamp_train.json') + read(real / 'svamp_test.json')
    problems = [None] * 1000
    for place, record in zip(np.random.RandomState(0).permutation(1000), records, strict=True):
        problems[place] = svamp_problem(record)
    # As the file of its authors has them: the first, the one without an operator, the last.
    assert problems[0]['Body'].startswith('Each pack of dvds costs 76 dollars.')
    assert problems[554]['Equation'] == '8.0'
    assert problems[999]['Question'] == 'How far did the frog jump?'
    put(tmp_path, SVAMP_json=json.dumps(problems, indent=4))
    folder = fetch('svamp', tmp_path)
    for file in ('svamp_train.json', 'svamp_test.json'):
        assert (folder / file).read_bytes() == (real / file).read_bytes()


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('{}', 'expected a JSON list'),
        ('[1]', 'expected a JSON list'),
        ('<html>', 'cannot be read as JSON'),
        ('[' * 100_000, 'cannot be read as JSON'),
        (b'\xff\xfe', 'cannot be read as JSON'),
        (
            '[{"Body": "b", "Question": 3, "Equation": ""}]',
            "problem 1: field 'Question': expected a",
        ),
        ('[{"Body": "b", "Question": "q?", "Equation": "1"}]', 'expected 2 questions .*, got 1'),
    ],
)
def test_svamp_that_is_not_svamp_is_refused(content, message, tmp_path, sizes):
    sizes('svamp', train=2, test=0)
    put(tmp_path, SVAMP_json=content)
    with pytest.raises(InputError, match=message):
        fetch('svamp', tmp_path)
    assert not list(tmp_path.rglob('svamp_train.json'))
    assert not list(tmp_path.rglob('*.tmp'))


# --- CommonsenseQA --------------------------------------------------------------------------------


def commonsense(record):
    choices = [
        {'label': label, 'text': text}
        for label, text in zip('ABCDE', record['choices'], strict=True)
    ]
    return {
        'answerKey': 'ABCDE'[record['choices'].index(record['answer'])],
        'id': record['id'],
        'question': {'question_concept': 'c', 'choices': choices, 'stem': record['question']},
    }


def explanation(record):
    texts = {
        'open-ended': record['abstractive_explanation'],
        'selected': record['extractive_explanation'],
    }
    return {'id': record['id'], 'explanation': texts}


def put_cqa(folder, train, test):
    """Puts the four files, CommonsenseQA's in an order of its own."""
    shuffled = random.Random(0).sample
    put(
        folder,
        train_rand_split_jsonl=jsonl(map(commonsense, shuffled(train, len(train)))),
        dev_rand_split_jsonl=jsonl(map(commonsense, shuffled(test, len(test)))),
        **{
            'cose_train_v1.11_processed_jsonl': jsonl(map(explanation, train)),
            'cose_dev_v1.11_processed_jsonl': jsonl(map(explanation, test)),
        },
    )


def test_cqa_is_what_dss_wrote_to_the_byte(shared_data, tmp_path, sizes):
    """The beginning of the files: annotations are checked at every call, which takes time."""
    sizes('cqa', train=1500, test=200)
    real = shared_data / 'dss' / 'cqa'
    train = (real / 'cqa_train.json').read_bytes().splitlines(keepends=True)[:1500]
    test = (real / 'cqa_test.json').read_bytes().splitlines(keepends=True)[:200]
    put_cqa(tmp_path, list(map(json.loads, train)), list(map(json.loads, test)))
    folder = fetch('cqa', tmp_path)
    assert (folder / 'cqa_train.json').read_bytes() == b''.join(train)
    assert (folder / 'cqa_test.json').read_bytes() == b''.join(test)


RECORD = {
    'id': 'x',
    'question': 'Where is a/b “here”?',
    'choices': ['v', 'w', 'x', 'y', 'z'],
    'answer': 'y',
    'abstractive_explanation': 'because',
    'extractive_explanation': 'a/b',
}


def test_cqa_has_the_order_of_cose_and_escapes_as_pandas_does(tmp_path, sizes):
    sizes('cqa', train=3, test=1)
    records = [{**RECORD, 'id': name} for name in 'cab']
    put_cqa(tmp_path, records, [RECORD])
    folder = fetch('cqa', tmp_path)
    assert read(folder / 'cqa_train.json') == records
    assert (folder / 'cqa_test.json').read_text() == (
        r'{"id":"x","question":"Where is a\/b \u201chere\u201d?","choices":["v","w","x","y","z"],'
        r'"answer":"y","abstractive_explanation":"because","extractive_explanation":"a\/b"}'
        '\n'
    )


@pytest.mark.parametrize(
    ('break_it', 'message'),
    [
        (lambda q, e: q.update(answerKey='F'), "line 1: field 'answerKey': expected one of A, B"),
        (lambda q, e: q.pop('answerKey'), "field 'answerKey': expected a text, got None"),
        (lambda q, e: q.update(question=[]), "field 'question': expected an object"),
        (lambda q, e: q['question'].update(choices={}), "field 'choices': expected a list"),
        (lambda q, e: q['question'].update(choices=[3]), "field 'label': expected a text"),
        (lambda q, e: e.update(id='other'), "'other' is no question of"),
        (lambda q, e: e.update(explanation='text'), "field 'explanation': expected an object"),
    ],
)
def test_malformed_questions_are_named(break_it, message, tmp_path, sizes):
    sizes('cqa', train=1, test=1)
    put_cqa(tmp_path, [RECORD], [])
    question, explained = commonsense(RECORD), explanation(RECORD)
    break_it(question, explained)
    put(
        tmp_path,
        dev_rand_split_jsonl=jsonl([question]),
        **{'cose_dev_v1.11_processed_jsonl': jsonl([explained])},
    )
    with pytest.raises(InputError, match=message):
        fetch('cqa', tmp_path)


# --- ANLI -----------------------------------------------------------------------------------------


def anli(split, label='n', **fields):
    entry = {
        'uid': f'{split}-1',
        'context': 'A cat.',
        'hypothesis': 'A dog.',
        'label': label,
        'model_label': 'e',
        'emturk': True,
    }
    return json.dumps({**entry, **fields}) + '\n'


def test_anli_is_the_first_round_with_dss_fields(tmp_path, sizes):
    sizes('anli1', train=3, valid=1, test=1)
    train = anli('a', 'e') + '\n' + anli('b', 'n', reason='no “reason”') + anli('c', 'c')
    members = {
        'anli_v0.1/AR1/train.jsonl': 'not read',
        'anli_v0.1/R1/train.jsonl': train,
        'anli_v0.1/R1/dev.jsonl': anli('dev'),
        'anli_v0.1/R1/test.jsonl': anli('test'),
        'anli_v0.1/R2/train.jsonl': 'not read',
        '__MACOSX/anli_v0.1/R1/._train.jsonl': 'not read',
    }
    put(tmp_path, **{'anli_v0.1_zip': archive(members)})
    folder = fetch('anli1', tmp_path)
    shared = {'premise': 'A cat.', 'hypothesis': 'A dog.'}
    assert [list(record.items()) for record in read(folder / 'anli1_train.json')] == [
        list({'uid': 'a-1', **shared, 'label': 0, 'reason': ''}.items()),
        list({'uid': 'b-1', **shared, 'label': 1, 'reason': 'no “reason”'}.items()),
        list({'uid': 'c-1', **shared, 'label': 2, 'reason': ''}.items()),
    ]
    assert [record['uid'] for record in read(folder / 'anli1_valid.json')] == ['dev-1']
    assert [record['uid'] for record in read(folder / 'anli1_test.json')] == ['test-1']


@pytest.mark.parametrize(
    ('test', 'message'),
    [
        (
            anli('t', 'x'),
            r"R1/test\.jsonl, line 1: field 'label': expected one of e, n, c, got 'x'",
        ),
        (anli('t') + '{', r'R1/test\.jsonl, line 2: not valid JSON'),
        (anli('t') + anli('u'), 'expected 1 questions .*, got 2'),
        (b'\xff', 'is no good zip archive'),
        (None, r'holds no R1/test\.jsonl'),
    ],
)
def test_malformed_anli_is_named(test, message, tmp_path, sizes):
    sizes('anli1', train=1, valid=1, test=1)
    members = {'R1/train.jsonl': anli('a'), 'R1/dev.jsonl': anli('b'), 'R1/test.jsonl': test}
    members = {name: text for name, text in members.items() if text is not None}
    put(tmp_path, **{'anli_v0.1_zip': archive(members)})
    with pytest.raises(InputError, match=message):
        fetch('anli1', tmp_path)
    assert not list(tmp_path.rglob('anli1_*.json'))


# --- e-SNLI ---------------------------------------------------------------------------------------

TRAIN_COLUMNS = ['pairID', 'gold_label', 'Sentence1', 'Sentence2', 'Explanation_1', 'WorkerId']
TEST_COLUMNS = [*TRAIN_COLUMNS[:5], 'Explanation_2', 'Explanation_3']


def table(columns, *rows, newline='\r\n'):
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval='', lineterminator=newline)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def pair(label='neutral', premise='p', hypothesis='h', **more):
    return {'gold_label': label, 'Sentence1': premise, 'Sentence2': hypothesis, **more}


def put_esnli(folder, train_1=None, train_2=None, test=None):
    put(
        folder,
        esnli_train_1_csv=train_1 or table(TRAIN_COLUMNS, pair()),
        esnli_train_2_csv=train_2 or table(TRAIN_COLUMNS, pair('entailment')),
        esnli_dev_csv=table(TEST_COLUMNS, pair('contradiction', Explanation_3='c')),
        esnli_test_csv=test or table(TEST_COLUMNS, pair()),
    )


def test_esnli_joins_its_parts_and_reads_quoted_cells(tmp_path, sizes):
    sizes('esnli', train=4, valid=1, test=1)
    first = table(
        TRAIN_COLUMNS,
        pair('neutral', 'He said "a, b".', 'Two\nlines', Explanation_1='a,b/c', WorkerId='w'),
        pair('entailment', 'Naïve ½', 'Windows\r\nlines'),
        pair('contradiction'),
    )
    put_esnli(tmp_path, first, table(TRAIN_COLUMNS, pair(premise='second'), newline='\n'))
    folder = fetch('esnli', tmp_path)
    rest = {'explanation_1': '', 'explanation_2': '', 'explanation_3': ''}
    assert read(folder / 'esnli_train.json') == [
        {'premise': 'He said "a, b".', 'hypothesis': 'Two\nlines', 'label': 1,
         'explanation_1': 'a,b/c', 'explanation_2': '', 'explanation_3': ''},
        {'premise': 'Naïve ½', 'hypothesis': 'Windows\nlines', 'label': 0, **rest},
        {'premise': 'p', 'hypothesis': 'h', 'label': 2, **rest},
        {'premise': 'second', 'hypothesis': 'h', 'label': 1, **rest},
    ]  # fmt: skip
    assert (folder / 'esnli_valid.json').read_text() == (
        '{"premise":"p","hypothesis":"h","label":2,"explanation_1":"","explanation_2":"",'
        '"explanation_3":"c"}\n'
    )


@pytest.mark.parametrize(
    ('test', 'message'),
    [
        (table(TEST_COLUMNS, pair('-')), r"line 2: field 'gold_label': expected one of entail"),
        (table(TEST_COLUMNS[:3], {}), "field 'gold_label': expected one of"),
        (
            'gold_label,Sentence1\nneutral,p\n',
            "line 2: field 'Sentence2': expected a text, got None",
        ),
        (
            'gold_label,Sentence1,Sentence2\nneutral,p\n',
            "field 'Sentence2': expected a text, got N",
        ),
        (f'gold_label\n"{"x" * 200_000}"\n', 'cannot be read as CSV'),
        (b'gold_label\n\xff\n', 'cannot be read as CSV'),
        (table(TEST_COLUMNS), 'expected 1 questions .*, got 0'),
        ('\n', 'expected 1 questions .*, got 0'),
    ],
)
def test_malformed_tables_are_named(test, message, tmp_path, sizes):
    sizes('esnli', train=2, valid=1, test=1)
    put_esnli(tmp_path, test=test)
    with pytest.raises(InputError, match=message):
        fetch('esnli', tmp_path)
    assert not list(tmp_path.rglob('esnli_*.json'))


def test_esnli_is_not_held_in_memory(tmp_path, sizes):
    rows = 2500
    sizes('esnli', train=rows + 1, valid=1, test=1)
    put_esnli(tmp_path, table(TRAIN_COLUMNS, *[pair(premise='p' * 100)] * rows))
    tracemalloc.start()
    folder = fetch('esnli', tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    size = (folder / 'esnli_train.json').stat().st_size
    assert peak < 0.75 * size, (peak, size)
