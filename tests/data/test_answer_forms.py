"""The forms in which the teachers of today state a choice or a class.

The expected values are what a careful person reads; None where nothing may be read.
"""

import json
from fractions import Fraction

import pytest

from qcrd_jax.data.answers import canonical
from qcrd_jax.data.teacher_output import parse_answer

_PLACES = ('bank', 'library', 'department store', 'mall', 'new york')
_CLASSES = ('entailment', 'neutral', 'contradiction')
_LONG = (  # longer than a text may be that ends without a full stop
    'The shop sells pens and each of the pens costs the same, as the story '
    'says, and nothing else is '
    'said of it. '
) * 5


def read(text, answer_type, options=()):
    return canonical(parse_answer(text, answer_type, options)[1], answer_type, options)


@pytest.mark.parametrize(
    ('text', 'place'),
    [
        ('C, because clothes hang there, unlike in a mall.', 2),
        ('B - a bank is no place for books', 1),
        ('The answer is D: people shop there, not in a bank.', 3),
        ('(B) since a bank has no books', 1),
        ('B. A bank lends money.', None),
        ('The correct answer is C — clothes hang there, not in the mall.', 2),
        ('Answer: C (clothes)', 2),
        ('C (clothes, not books from a library)', 2),
        ('B, not A or C.', 1),
        ('B rather than A', 1),
        ('A, B', None),
        ('A and B', None),
        ('A or B', None),
        ('A; B', None),
        ('Both A and B.', None),
        ('**Answer: B**', 1),
        ('Books are lent there.\nB', 1),
        ('Books are lent there.\n\n(B)', 1),
        ('Books are lent there.\n\nB.', 1),
        ('Books are lent there.\n\nAnswer: B) library', 1),
        ('Books.\n\n**(b) library**', 1),
        ('Books are lent there.\n\nlibrary', 1),
        ('Books are lent there.\n\nLibrary.', 1),
        ('Books are lent there.\n#### B', 1),
        ('Books are lent there.\nA: B', 1),
        ('* bank\n* library\n* mall', None),
        ('(a) bank\n(b) library', None),
        ('Possible answers:\n- bank\n- library', None),
        ('The answer is:\n- bank\n- library', None),
        ('bank, library, mall', None),
        ('1) bank 2) library', None),
        ('The answer is B. library', 1),
        ('The answer is: B', 1),
        ('B: library', 1),
        ('B) library', 1),
        ('b', 1),
        ('\\boxed{B}', 1),
        ('\\boxed{\\text{B}}', 1),
        ('<think>A?</think>\n\nB', 1),
        ('<answer>(B)</answer>', 1),
        ('<answer>library</answer>', 1),
        ('<answer>B. library</answer>', 1),
        ('I would choose B.', 1),
        ('Option B', 1),
        ('It is B.', 1),
        ('So it is B.', 1),
        ('Therefore, the answer is option B, the library.', 1),
        ('The answer is F.', None),
        ('The answer is A bank.', 0),
        ('A bank', 0),
        ('The answer is A, a bank.', 0),
        ('The answer is A, the library.', None),
        ('B, mall', None),
        ('The best answer is B.', 1),
        ('The answer is not A but B.', None),
        ('B is correct.', 1),
        ('B is the best choice because banks have no books.', 1),
        ('B is wrong.', None),
        ('The answer is (B) because a mall sells things and a bank lends money.', 1),
        ('{"answer": "B"}', 1),
        ('B<|im_end|>', 1),
        ('B. Books are lent there, and money is kept at a bank.', 1),
        ('The answer is B. Books are lent there, and money is kept at a bank.', 1),
        ('Bank: money is kept there. Library: books are lent there.', None),
        ('**B**\n\nA bank lends money.', 1),
        ('library; the mall sells things', None),
        ('The answer is library, since the mall sells things.', 1),
        ('The answer is C\n\nThe mall...', 2),
        ('Answer: **C. department store**', 2),
        ('The answer is library or bank', None),
        ('new york', 4),
        ('The answer is (e) New York.', 4),
        ('The bank is not right.', None),
        ('Library: books are lent there.', 1),
        ('Answer: (a) or (b)', None),
        ('1. bank\n2. library\n\nThe answer is 2.', None),
        ('Library\n\nBooks are lent there. Great!', 1),
        ('Neither A nor B.', None),
        ('none of them', None),
        (_LONG + '\n**B**', 1),
        (_LONG + '\n#### B', 1),
        (_LONG + '\nA: library', 1),
        (_LONG + '\n(b)', 1),
        (_LONG + '\nanswer = B', 1),
        (_LONG + '\nBooks are lent in the', None),
        ('B. A bank has no books.', 1),
        ('B. You can find books there, not in a bank.', 1),
        ("B: banks don't lend books", 1),
        ('B and not A.', 1),
        ('B (not A)', 1),
        ('bank\nlibrary\n\nEither.', None),
        ('Options: bank; library', None),
        ('It could be bank or library.', None),
        ('1) bank\n2) library\n\nBoth work.', None),
        ('<answer>\n(b) library\n</answer>', 1),
        ('B. library\n\nA bank lends money.', 1),
        ('C. Since clothes hang there and not in a mall.', 2),
        ('The answer is C. Clothes hang there, unlike in a mall.', 2),
        ("I'd go with B.", 1),
        ('B!', 1),
        ('B?', 1),
        ('(B)', 1),
        ('Answer B', 1),
        ('Choice B', 1),
        ('B because the bank lends money, the mall sells things', 1),
        ('B, a library, because a bank has no books', 1),
        ('B = library', 1),
        ('library (B)', 1),
        ('B / library', 1),
        ('Mall or bank? Neither. The answer is library.', 1),
        ('D. Mall', 3),
        ('D. Malls', 3),
        ('A.', 0),
        ('A', 0),
        ('A, because money is there', 0),
        ('a', 0),
        ("It's A.", None),
        ('The answer is A.', 0),
        ('The answer is a.', 0),
        ('Answer: A) bank', 0),
        ('The answer is (A) bank (B) library', None),
        ('The correct answer is: **(C) department store**', 2),
        ('The answer is E, New York.', 4),
        ('Department store. Clothes hang there.', 2),
        ('Thank you', None),
        ('Answer Choices: (a) bank (b) library', None),
    ],
)
def test_choices(text, place):
    assert read(text, 'choice', _PLACES) == (None if place is None else _PLACES[place])


@pytest.mark.parametrize(
    ('text', 'place'),
    [
        ('REFUTED', 2),
        ('SUPPORTS', 0),
        ('Not Enough Info', 1),
        ('NEI', 1),
        ('The claim is refuted.', 2),
        ('The evidence refutes it. So the answer is REFUTES.', 2),
        ('not enough information to tell', 1),
        ('**Contradiction**', 2),
        ('Both cannot be.\n\n**contradiction**', 2),
        ('Both cannot be.\n\nContradiction.', 2),
        ('entailment\nneutral\ncontradiction', None),
        ('- entailment\n- neutral', None),
        ('The answer is neutral, since nothing is said about contradiction.', 1),
        ('Answer: C', 2),
        ('Sure!\n\nPremise: a\nHypothesis: b\n\nThe answer is neutral.', 1),
        (
            "Let's analyze.\n\n**Premise:** a dog runs.\n**Hypothesis:** a cat "
            'sleeps.\n\n**Answer:** contradiction',
            2,
        ),
        (
            'It does not support it. The answer is contradiction.\n\nPremise: '
            'x\nHypothesis: y\nAnswer: neutral',
            2,
        ),
        ('<think>entailment</think>neutral', 1),
        ('<answer>neutral</answer>', 1),
        ('neutral.<|im_end|>', 1),
        ('The premise says nothing of it.\n#### neutral', 1),
        ('UNVERIFIABLE', 1),
        ('cannot be inferred', 1),
        ('Neither.', 1),
        ('It is not entailment but neutral.', None),
        ('The hypothesis is true.', 0),
        ('False. Great!', 2),
        ('The answer is entailment (not neutral).', 0),
        ('label: 1', None),
        (_LONG + '\n**neutral**', 1),
        (_LONG + '\nAnswer: neutral', 1),
        (
            'I need to compare the two sentences.\n\nPremise: a\nHypothesis: b\n\n'
            'They differ. The answer is contradiction.',
            2,
        ),
        ('unverified', 1),
        ('Supported.', 0),
        ('REFUTES, since the cat sleeps', 2),
        ('NOT ENOUGH INFO to say', 1),
        ('<answer>REFUTES</answer>', 2),
        ('The verdict: REFUTES', 2),
        ('entailment or neutral', None),
        ('**Entailment** – the dog runs, no contradiction.', 0),
    ],
)
def test_classes(text, place):
    assert read(text, 'class', _CLASSES) == (None if place is None else _CLASSES[place])


@pytest.mark.parametrize(
    ('text', 'answer_type', 'options', 'rationale'),
    [
        ('<think>x</think>\nThere are 12.\n<answer>12</answer>', 'equation', (), 'There are 12.'),
        ('<reasoning>4*3=12</reasoning>\n<answer>12</answer>', 'equation', (), '4*3=12'),
        ('48/2 = <<48/2=24>>24 clips.\n#### 24', 'equation', (), '48/2 = 24 clips.'),
        ('Books are lent there.\n\n**B**', 'choice', _PLACES, 'Books are lent there.'),
        ('Books.\n#### B', 'choice', _PLACES, 'Books.'),
        ('6 * 7 = 42 apples. Great!', 'equation', (), '6 * 7 = 42 apples.'),
        ('2+3=5. The answer is 5.<|im_end|>', 'equation', (), '2+3=5.'),
        ('B; a bank is no place for books', 'choice', _PLACES, ''),
        ('Both cannot be.\n\n**contradiction**', 'class', _CLASSES, 'Both cannot be.'),
        ('We add.\n2 + 3 = 5\n\n**Final answer: 5**', 'equation', (), 'We add.\n2 + 3 = 5'),
        ('{"reasoning": "4*3 = 12", "answer": 12}', 'equation', (), '4*3 = 12'),
        (_LONG + '\nA: 90', 'equation', (), _LONG.strip()),
    ],
)
def test_the_rationale_is_what_is_said_for_the_answer(text, answer_type, options, rationale):
    assert parse_answer(text, answer_type, options)[0] == rationale


def test_every_case_that_was_read_wrongly_once(shared_data):
    cases = shared_data.parent / 'cases' / 'answers.jsonl'
    if not cases.is_file():
        pytest.skip('the cases are not at hand')
    wrong = []
    for line in cases.read_text().splitlines():
        case = json.loads(line)
        options = case.get('options', ())
        rationale, answer = parse_answer(case['text'], case['type'], options)
        value = canonical(answer, case['type'], options)
        expected = case['answer']
        if case['type'] == 'equation' and expected is not None:
            expected = Fraction(expected)
        if value != expected or case.get('rationale', rationale) != rationale:
            wrong.append((case['kind'], case['text'][-60:], value, rationale))
    assert wrong == []
