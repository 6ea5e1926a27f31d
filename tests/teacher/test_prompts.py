"""Prompts show what the parser reads, and the question stands in them letter by letter."""

import re
from fractions import Fraction

import pytest

from qcrd_jax.data.answers import canonical
from qcrd_jax.data.schema import Example
from qcrd_jax.data.sources.table import DATASETS
from qcrd_jax.data.teacher_output import parse_answer
from qcrd_jax.errors import InputError
from qcrd_jax.teacher import prompts

TYPES = {name: entry.answer_type for name, entry in DATASETS.items() if entry.answer_type}
TYPES |= {kind: kind for kind in ('equation', 'choice', 'class', 'text')}
FILES = [prompts._FOLDER / f'{name}.txt' for name in TYPES if name != 'mwp']
_SHOT = re.compile(
    r'^(?:Q|Premise|Text): (?P<question>.*?)\nA: (?P<answer>.*?)(?=\n\n|\Z)',
    re.MULTILINE | re.DOTALL,
)
_CALCULATION = re.compile(r'(\d+) ([-+*/]) (\d+) = (\d+)')


def shots(path):
    """The (question, answer) pairs that a prompt file demonstrates."""
    return [match.group('question', 'answer') for match in _SHOT.finditer(path.read_text())]


def options(path, question):
    if path.stem in ('cqa', 'choice'):
        return tuple(re.findall(r'^\([a-z]\) (.*)$', question, re.MULTILINE))
    if path.stem == 'class':
        return tuple(question.rsplit('Classes: ', 1)[1].split(', '))
    return ('entailment', 'neutral', 'contradiction') if path.stem in ('anli1', 'esnli') else ()


CASES = [
    pytest.param(path, *shot, id=f'{path.stem}-{number}')
    for path in FILES
    for number, shot in enumerate(shots(path))
]


def test_every_dataset_and_answer_type_has_its_prompt():
    names = {
        name: prompts.load(name, 'text').source
        for name in ('svamp', 'mwp', 'cqa', 'anli1', 'esnli')
    }
    assert names == {
        'svamp': 'svamp.txt',
        'mwp': 'equation.txt',
        'cqa': 'cqa.txt',
        'anli1': 'anli1.txt',
        'esnli': 'esnli.txt',
    }
    for kind in ('equation', 'choice', 'class', 'text'):
        assert prompts.load('custom', kind).source == f'{kind}.txt'
    for path in FILES:
        assert 5 <= len(shots(path)) <= 7


@pytest.mark.parametrize(('path', 'question', 'answer'), CASES)
def test_the_parser_reads_every_example(path, question, answer):
    answer_type = TYPES[path.stem]
    choices = options(path, question)
    rationale, stated = parse_answer(answer, answer_type, choices)
    statement = r'The answer is (.*)\.' if answer_type == 'equation' else r'So the answer is (.*)\.'
    shown = re.search(statement + r'\Z', answer)[1]
    assert stated == shown
    assert canonical(stated, answer_type, choices) is not None
    assert (
        rationale
        == answer[: answer.rindex('The answer' if answer_type == 'equation' else 'So')].strip()
    )
    if answer_type == 'choice':
        letter, text = re.fullmatch(r'\(([a-z])\) (.*)', shown).groups()
        assert choices['abcde'.index(letter)] == text
    if answer_type == 'class':
        assert shown in choices


@pytest.mark.parametrize(('path', 'question', 'answer'), CASES)
def test_the_arithmetic_of_every_example_is_right(path, question, answer):
    steps = [tuple(step) for step in _CALCULATION.findall(answer)]
    for left, operator, right, result in steps:
        assert canonical(f'{left} {operator} {right}', 'equation') == Fraction(result)
    if TYPES[path.stem] == 'equation':
        # The last step is what the stated equation comes to.
        stated = answer.rsplit('The answer is ', 1)[1].rstrip('.')
        assert steps
        assert canonical(stated, 'equation') == Fraction(steps[-1][3])
        # Its numbers are numbers of the question.
        assert set(re.findall(r'\d+', stated)) <= set(re.findall(r'\d+', question))


def test_choices_and_classes_of_the_examples_are_spread():
    letters = [
        re.search(r'is \(([a-e])\)', answer)[1] for _, answer in shots(prompts._FOLDER / 'cqa.txt')
    ]
    assert set(letters) == set('abcde')
    for name in ('anli1', 'esnli'):
        classes = [answer.rsplit(' ', 1)[1] for _, answer in shots(prompts._FOLDER / f'{name}.txt')]
        assert sorted(classes) == sorted(['entailment.', 'neutral.', 'contradiction.'] * 2)


def test_the_question_comes_last():
    prompt = prompts.load('svamp', 'equation').fill(Example('1', 'How many?\nSo many?', '1'))
    assert prompt.endswith(
        'does not matter. The answer is ( 51 / 3 ).\n\nQ: How many?\nSo many?\nA:'
    )
    example = Example('1', 'A cat sleeps.</s>An animal rests.', 'entailment')
    prompt = prompts.load('esnli', 'class').fill(example)
    assert prompt.endswith('\n\nPremise: A cat sleeps.\nHypothesis: An animal rests.\nA:')
    example = Example('1', 'Nice!', 'praise', options=('praise', 'blame'))
    prompt = prompts.load('custom', 'class').fill(example)
    assert prompt.endswith('\n\nText: Nice!\nClasses: praise, blame\nA:')


def test_a_question_is_never_a_template(tmp_path):
    file = tmp_path / 'prompt.txt'
    file.write_text('{"json": "{x}"} %s {input} and {input}')
    hostile = r'{premise} {input} {0} {input.__class__} %(a)s \1 \g<0> {'
    prompt = prompts.load('custom', 'text', str(file))
    assert prompt.fill(Example('1', hostile, '')) == (
        f'{{"json": "{{x}}"}} %s {hostile} and {hostile}'
    )
    nli = prompts.load('esnli', 'class').fill(Example('1', '{hypothesis}</s>{premise}', 'neutral'))
    assert nli.endswith('Premise: {hypothesis}\nHypothesis: {premise}\nA:')


@pytest.mark.parametrize('text', ['', 'Q: {question}', 'Premise: {premise}', '{ input }'])
def test_a_prompt_without_a_place_for_the_question_is_refused(tmp_path, text):
    file = tmp_path / 'prompt.txt'
    file.write_text(text)
    with pytest.raises(InputError, match=r'teacher\.prompt: .*prompt\.txt has no place'):
        prompts.load('svamp', 'equation', str(file))


def test_a_prompt_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(InputError, match=r'none\.txt cannot be read'):
        prompts.load('svamp', 'equation', str(tmp_path / 'none.txt'))


def test_a_question_without_hypothesis_does_not_fit_an_nli_prompt():
    with pytest.raises(InputError, match=r"asks for \{premise\}, but question 'q7'"):
        prompts.load('esnli', 'class').fill(Example('q7', 'Just a text.', 'neutral'))
