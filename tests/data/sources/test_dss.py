"""The layout and the split of Distilling step-by-step."""

import hashlib
import json

import pytest

from qcrd_jax.data.answers import canonical
from qcrd_jax.data.sources import dss
from qcrd_jax.data.sources.table import DATASETS
from qcrd_jax.data.splits import hold_out, with_validation
from qcrd_jax.data.tokenizer import load_tokenizer
from qcrd_jax.errors import InputError


def write_dataset(folder, train=30, test=4, parts=(20, 10), name='svamp'):
    """Writes a tiny dataset in the layout of the release; returns its folder."""
    (folder / 'llm').mkdir(parents=True)
    for split, number in (('train', train), ('test', test)):
        lines = [
            json.dumps({'input': f'{split} question {i}\nHow many?', 'label': f'( {i}.0 + 1.0 )'})
            for i in range(number)
        ]
        (folder / f'{name}_{split}.json').write_text('\n'.join(lines) + '\n')
    start = 0
    for part, number in enumerate(parts):
        answers = [
            f'{i} + 1 = {i + 1}. The answer is ({i} + 1).' for i in range(start, start + number)
        ]
        (folder / 'llm' / f'train_CoT_{part}.json').write_text(json.dumps(answers))
        start += number
    return folder


def read(folder, name='svamp', answer_type='equation'):
    """The examples by split, with a validation split."""
    splits = with_validation(dss.read(folder, name, DATASETS[name].question, answer_type))
    return {split: list(examples) for split, examples in splits.items()}


def test_hold_out_is_a_permutation_that_numpy_pins():
    kept, held = hold_out(10)
    assert sorted([*kept, *held]) == list(range(10))
    assert held == [4]  # first of default_rng(0).permutation(10)
    assert len(hold_out(9741)[1]) == 975  # a tenth, rounded up


def test_parts_follow_one_another_in_numerical_order(tmp_path):
    # Part 10 comes after part 9, though not in alphabetical order.
    folder = write_dataset(tmp_path / 'svamp', train=24, parts=[2] * 12)
    splits = read(folder)
    assert {split: len(examples) for split, examples in splits.items()} == {
        'train': 21,
        'validation': 3,
        'test': 4,
    }
    for example in [*splits['train'], *splits['validation']]:
        number = int(example.input.split()[2])
        assert example.id == f'svamp-train-{number:04d}'
        (sample,) = example.samples
        assert sample.answer == f'({number} + 1)'
        assert sample.rationale == f'{number} + 1 = {number + 1}.'
        assert sample.source == 'palm-540b'
    assert all(example.samples == () for example in splits['test'])


def test_a_validation_file_is_used_as_it_is(tmp_path):
    folder = write_dataset(tmp_path / 'svamp')
    (folder / 'svamp_valid.json').write_text('{"input": "v", "label": "( 1 )"}\n')
    splits = read(folder)
    assert [example.input for example in splits['validation']] == ['v']
    assert len(splits['train']) == 30


def test_find_dataset_takes_either_folder(tmp_path):
    folder = write_dataset(tmp_path / 'svamp')
    assert dss.find_dataset(tmp_path, 'svamp') == folder
    assert dss.find_dataset(folder, 'svamp') == folder
    with pytest.raises(InputError, match=r'holds neither svamp_train\.json'):
        dss.find_dataset(tmp_path / 'nowhere', 'svamp')


@pytest.mark.parametrize(
    ('line', 'message'),
    [
        ('{"input": "q"', 'svamp_train.json, line 31: not valid JSON'),
        ('[1]', 'svamp_train.json, line 31: expected a JSON object'),
        ('{"input": "q"}', "line 31: expected a text in field 'label', got None"),
        ('{"input": 3, "label": "l"}', "line 31: expected a text in field 'input', got 3"),
        ('{"input": " ", "label": "l"}', "expected a text that is not empty in field 'input', got"),
        ('{"input": "\\ud800", "label": "l"}', 'expected Unicode, not half of a character (a lone'),
        ('{"input": "q", "label": "1", "label": "2"}', "the name 'label' is there twice"),
    ],
)
def test_a_malformed_line_is_named(tmp_path, line, message):
    folder = write_dataset(tmp_path / 'svamp')
    with open(folder / 'svamp_train.json', 'a') as file:
        file.write(line + '\n')
    with pytest.raises(InputError) as error:
        read(folder)
    assert message in str(error.value)


def test_answers_that_do_not_fit_the_questions_are_refused(tmp_path):
    folder = write_dataset(tmp_path / 'a' / 'svamp', parts=(20, 9))
    with pytest.raises(InputError, match='hold 29 answers to the 30 questions'):
        read(folder)
    folder = write_dataset(tmp_path / 'b' / 'svamp')
    (folder / 'llm' / 'train_CoT_1.json').write_text('{"0": "x"}')
    with pytest.raises(InputError, match='expected a JSON list of texts'):
        read(folder)


def test_svamp_is_split_as_dss_split_it(shared_data):
    splits = read(shared_data / 'dss' / 'svamp')
    assert {split: len(examples) for split, examples in splits.items()} == {
        'train': 720,
        'validation': 80,
        'test': 200,
    }
    assert splits['validation'][0].id == 'svamp-train-0759'
    assert splits['validation'][0].input.startswith('Next on his checklist is wax to stick')
    # Digests of the questions, in order, as `train_test_split` of datasets 5.2.0 gives them.
    assert digest(splits['train']).startswith('28fa0ed232ee855821ccfe2cd744f248')
    assert digest(splits['validation']).startswith('9180d44d8011668d7904d7918194dc1a')


CQA_INPUT = """The farmer asked where the cow was. Where was it?
Answer Choices:
(a) barn
(b) moon
(c) milk bottle
(d) town
(e) pond"""


def write_cqa(folder):
    """Two questions in the fields of the release, with answers of its form."""
    records = [
        {
            'id': 'f00d',
            'question': 'The farmer asked where the cow was. Where was it?',
            'choices': ['barn', 'moon', 'milk bottle', 'town', 'pond'],
            'answer': answer,
            'abstractive_explanation': '',
            'extractive_explanation': '',
        }
        for answer in ('barn', 'milk bottle')
    ]
    (folder / 'llm').mkdir(parents=True)
    answers = ['Cows sleep there. So the answer is (a) barn.\n\nQ: Where', 'So the answer is (c).']
    for split in ('train', 'test'):
        lines = [json.dumps(record) for record in records]
        (folder / f'cqa_{split}.json').write_text('\n'.join(lines))
        (folder / 'llm' / f'{split}_CoT_0.json').write_text(json.dumps(answers))
    return folder


def test_a_question_of_cqa_is_what_dss_makes_of_it(tmp_path):
    splits = dss.read(write_cqa(tmp_path / 'cqa'), 'cqa', DATASETS['cqa'].question, 'choice')
    first, second = splits['test']
    assert first.input == CQA_INPUT
    assert (first.id, first.label, second.label) == ('cqa-test-0000', 'barn', 'milk bottle')
    assert first.options == ('barn', 'moon', 'milk bottle', 'town', 'pond')
    assert first.samples[0].rationale == 'Cows sleep there.'
    answers = [canonical(e.samples[0].answer, 'choice', e.options) for e in (first, second)]
    assert answers == [canonical(e.label, 'choice', e.options) for e in (first, second)]


@pytest.mark.parametrize('name', ['anli1', 'esnli'])
def test_premise_and_hypothesis_are_joined_as_dss_joins_them(tmp_path, name):
    folder = tmp_path / name
    folder.mkdir()
    for split in ('train', 'valid', 'test'):
        lines = [
            json.dumps({'premise': 'A man  plays.', 'hypothesis': f'"He" {label}.', 'label': label})
            for label in (0, 1, 2)
        ]
        (folder / f'{name}_{split}.json').write_text('\n'.join(lines))
    splits = read(folder, name, 'class')
    assert [example.label for example in splits['validation']] == [
        'entailment',
        'neutral',
        'contradiction',
    ]
    # `tokenizer.eos_token.join([premise, hypothesis])`, to the byte.
    assert splits['train'][1].input == 'A man  plays.</s>"He" 1.'
    assert splits['train'][0].options == ('entailment', 'neutral', 'contradiction')


def test_the_separator_is_one_token_for_t5(shared_data):
    tokenizer = load_tokenizer(str(shared_data / 'tokenizer'))
    ids = tokenizer('predict: a</s>b')['input_ids']
    assert ids.count(tokenizer.eos_token_id) == 2
    assert ids[-1] == tokenizer.eos_token_id


@pytest.mark.parametrize(
    ('name', 'record', 'message'),
    [
        ('cqa', {'question': 'q', 'choices': 'ab', 'answer': 'a'}, "in field 'choices', got 'ab'"),
        ('cqa', {'question': 'q', 'choices': ['a'], 'answer': 'a'}, 'expected a list of 2 to 26'),
        ('cqa', {'question': 'q', 'choices': ['a', 'b'], 'answer': 'c'}, 'one of the choices'),
        ('cqa', {'choices': ['a', 'b'], 'answer': 'a'}, "a text in field 'question', got None"),
        ('esnli', {'premise': 'p', 'hypothesis': 'h', 'label': 3}, 'expected 0, 1, 2 or one of'),
        ('esnli', {'premise': 'p', 'hypothesis': 'h', 'label': True}, "field 'label', got True"),
        ('esnli', {'premise': 'p', 'label': 1}, "expected a text in field 'hypothesis'"),
    ],
)
def test_a_record_without_its_fields_is_named(tmp_path, name, record, message):
    for split in ('train', 'test'):
        (tmp_path / f'{name}_{split}.json').write_text(json.dumps(record))
    with pytest.raises(InputError) as error:
        list(dss.read(tmp_path, name, DATASETS[name].question, 'text')['train'])
    assert f'{name}_train.json, line 1' in str(error.value)
    assert message in str(error.value)


def test_cqa_is_split_and_written_as_dss_has_it(shared_data, tmp_path):
    real = shared_data / 'dss' / 'cqa'
    for split in ('train', 'test'):  # without the answers, which take most of the time to read
        (tmp_path / f'cqa_{split}.json').symlink_to(real / f'cqa_{split}.json')
    splits = read(tmp_path, 'cqa', 'choice')
    assert {split: len(examples) for split, examples in splits.items()} == {
        'train': 8766,
        'validation': 975,
        'test': 1221,
    }
    assert splits['validation'][0].input.startswith('How might someone stop being a lover?\n')
    records = [json.loads(line) for line in (real / 'cqa_test.json').read_text().splitlines()]
    for example, record in zip(splits['test'], records, strict=True):
        a, b, c, d, e = record['choices']
        lettered = f'(a) {a}\n(b) {b}\n(c) {c}\n(d) {d}\n(e) {e}'
        assert example.input == record['question'] + '\nAnswer Choices:\n' + lettered
        assert example.label == record['answer']


def digest(examples):
    return hashlib.sha256('\0'.join(example.input for example in examples).encode()).hexdigest()
