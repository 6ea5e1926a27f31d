"""Where rationales arrive: texts of the kinds that students and real teachers write."""

import collections
import json

import pytest

from qcrd_jax.data.answers import canonical
from qcrd_jax.data.marking import last_result
from qcrd_jax.data.schema import AnswerType
from qcrd_jax.data.teacher_output import MAX_TEXT, parse_answer, stated_answer
from qcrd_jax.evaluation.arrival import arrives_at

PLACES = ('bank', 'train station', 'museum', "farmer's market", 'lose money')


@pytest.mark.parametrize(
    ('text', 'value'),
    [
        # A stated answer wins over what was calculated.
        ('3 + 4 = 7. The answer is 7.', 7),
        ('3 + 4 = 8. The answer is 7.', 7),
        ('The answer is ( 3 + 4 ). 3 + 4 = 9', 7),
        ('3 + 4 = 8\n#### 7', 7),
        ('29 - 42 = -13. So Danny had 13 caps at first.', 13),
        # The last equation, right or wrong, whatever words follow.
        ('Take 3 from 8. 8 - 3 = 5 pens.', 5),
        ('We have 9 and 6. 9 - 6 = 1 books.', 1),
        ('3 + 4 = 7 apples, for 2 friends.', 7),
        ('3 + 4 = 7. So there are 7 apples left in 2 boxes.', 7),
        ('3 + 4 = 7 apples. They lie in 2 boxes.', 7),
        ('5 * 2 = 10. 10 - 3 = 7.', 7),
        ('5 + 3 = 8 - 2 = 6 toys', 6),
        ('The total is 3 plus 4 is 8', 8),
        ('x = 84 / 2', 42),
        ('8 - 3 = 5. x = ?', 5),
        ('17 - 20 = -3 degrees', -3),
        ('7 / 2 = 3.5 cm', 3.5),
        ('400 * 3 = 1,200 eggs', 1200),
        ('2 * $1.50 = $3.00.', 3),
        ('5 / 10 = 50%', 50),
        ('5 / 2 = 2 1/2 cakes', 2.5),
        ('1 - 1/2 = 1/2', 0.5),
        # No equation: the last number that describes nothing else.
        ('so there are 7 apples left in 2 boxes', 7),
        ('If 14 are for 2 guests, then each guest must have received 7 cookies.', 7),
        ('If it is 10 inches long, it must have been 30 inches before he cut 20.', 30),
        ('The second has 24 pages. In total there are 125.', 125),
        ('the temperature fell to -4', -4),
        ('There are seven left.', 7),
        # A calculation that was cut off, and one that was not made.
        ('He had 9 and got 4. 9 + 4 =', 4),
        ('Subtract the cakes that were sold from those that were made.', None),
        ('', None),
        ('= = =', None),
    ],
)
def test_arithmetic(text, value):
    assert arrives_at(text, 'equation') == value


@pytest.mark.parametrize(
    ('text', 'value'),
    [
        ('Trains stop there. So the answer is (b).', 'train station'),
        ('It keeps money, as a bank does.', 'bank'),
        # The frame that PaLM's rationales have, in any form of the words.
        ('It must have paintings. Of the above choices, only museums have paintings.', 'museum'),
        ('One goes to a bank. Only a train station has trains.', 'train station'),
        ('It makes one sad. Only losing money makes one sad.', 'lose money'),
        ("Of the above choices, only farmers' markets sell plums.", "farmer's market"),
        ('Only a museum has paintings that are not in a bank.', 'museum'),
        # The last sentence that names one.
        ('A bank and a museum are open. One can buy tickets at the station.', 'train station'),
        # None, several, or one that is denied.
        ('The answer must be a place with books.', None),
        ('Banks and museums are open.', None),
        ('It is never a museum.', None),
        ('', None),
    ],
)
def test_choices(text, value):
    assert arrives_at(text, 'choice', PLACES) == value


@pytest.mark.parametrize(
    ('text', 'value'),
    [
        ('A dog is an animal, so the premise entails it.', 'entailment'),
        ('A man outside cannot be inside. This is a contradiction.', 'contradiction'),
        ('Not every dog is brown.', None),
    ],
)
def test_classes(text, value):
    assert arrives_at(text, 'class') == value


def test_free_text_only_arrives_at_what_it_states():
    assert arrives_at('It was long ago. The answer is Rome.', 'text') == 'rome'
    assert arrives_at('It was Rome.', 'text') is None


@pytest.mark.parametrize('kind', ['equation', 'choice', 'class', 'text'])
@pytest.mark.parametrize(
    'text',
    [
        *(part * 5000 for part in ('9', '=', '1 = ', 'only ', '7,', '7 ', '(', 'a. ', '3 + ')),
        'x' * (MAX_TEXT + 1),
        '\ud800 = 3',
        '{0} %s ${x} __import__',
    ],
    ids=lambda text: text[:6].encode('utf-8', 'replace').decode(),
)
def test_anything_is_read_as_data_and_soon(kind: AnswerType, text):
    arrives_at(text, kind, PLACES if kind == 'choice' else ())


def test_the_result_of_the_last_equation():
    assert last_result('3 + 4 = 7, then 7 - 2 leaves 5') == 5
    assert last_result('there are 7 pens') is None


def test_what_is_stated_is_not_what_is_concluded():
    assert stated_answer('84 / 2 = 42. The answer is 42.', 'equation') == '42'
    assert stated_answer('84 / 2 = 42. So each has 42.', 'equation') == ''
    assert stated_answer('{"reasoning": "84 / 2", "answer": "42"}', 'equation') == '42'


def compared(samples, answer_type):
    """Counts what rationales arrive at, without their statements, against what was stated."""
    counts = collections.Counter()
    for text, options in samples:
        rationale, answer = parse_answer(text, answer_type, options)
        value = canonical(answer, answer_type, options)
        if value is None or not rationale:
            continue
        found = arrives_at(rationale, answer_type, options)
        counts['same' if found == value else 'unread' if found is None else 'other'] += 1
        counts['all'] += 1
        counts['whole'] += arrives_at(text, answer_type, options) == value
    return counts


def test_real_arithmetic(shared_data):
    # Every eighth question; of all 3472 rationales 3046 arrive at what is stated, 100 at nothing.
    lines = (shared_data / 'teacher' / 'svamp_samples.jsonl').read_text().splitlines()[::8]
    samples = [(sample['text'], ()) for line in lines for sample in json.loads(line)['samples']]
    counts = compared(samples, 'equation')
    assert counts['all'] > 400
    # Nearly all that differ contradict their own statement, or never come to it.
    assert counts['same'] >= 0.86 * counts['all']
    assert counts['unread'] <= 0.04 * counts['all']  # without any number
    assert counts['whole'] >= 0.99 * counts['all']


def test_real_choices(shared_data):
    # Every fourth question; of all 10649 rationales 10421 name the choice that is stated.
    folder = shared_data / 'dss' / 'cqa'
    questions = [json.loads(line) for line in (folder / 'cqa_test.json').read_text().splitlines()]
    texts = [
        text
        for number in range(2)
        for text in json.loads((folder / 'llm' / f'test_CoT_{number}.json').read_text())
    ]
    samples = [
        (text, tuple(question['choices'])) for question, text in zip(questions, texts, strict=True)
    ]
    counts = compared(samples[::4], 'choice')
    assert counts['all'] > 250
    assert counts['whole'] == counts['all']
    assert counts['same'] >= 0.96 * counts['all']
