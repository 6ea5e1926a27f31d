"""Verdicts in the words of today's chat models, and words around them that are none."""

import time

import pytest

from qcrd_jax.teacher.judge_verdicts import read_verdict

# What models write that were asked by our prompt: thinking, headings, tokens of their templates.
ANSWERS = [
    # GPT
    (
        'Explanation A correctly divides the total among 4 friends, whereas Explanation B '
        'multiplies instead.\n\nBetter explanation: A',
        'first',
    ),
    (
        'Both arrive at the correct answer, but Explanation B is more concise and avoids the slip '
        'in A.  \n**Better explanation: B**',
        'second',
    ),
    (
        '<|channel|>analysis<|message|>We need to judge. Better explanation: B.<|end|><|start|>'
        'assistant<|channel|>final<|message|>Explanation A divides.\n\nBetter explanation: A'
        '<|return|>',
        'first',
    ),
    ('<|channel|>analysis<|message|>Better explanation: A', 'unreadable'),  # cut in its thinking
    # Claude
    (
        '# Comparison\n\n**Explanation A** is right.\n\n**Explanation B** is wrong.\n\n## Verdict'
        '\n\nBetter explanation: A',
        'first',
    ),
    (
        "I'd say these are equivalent: each subtracts 3 from 12.\n\nBetter explanation: tie",
        'tie',
    ),
    # Qwen3
    (
        "<think>\nOkay, let's see. Explanation A says 12/4 = 3, B says 12*4.\n\nBetter "
        'explanation: B\n\nNo, A divides.\n</think>\n\nExplanation A divides.\n\nBetter '
        'explanation: A<|im_end|>\n<|endoftext|>',
        'first',
    ),
    ('<think>\n\n</think>\n\nB', 'second'),
    ('<think>\nBetter explanation: A\n\nLet me check', 'unreadable'),  # cut in its thinking
    (
        '<|im_start|>assistant\nBetter explanation: A<|im_end|>\n<|im_start|>user\nBetter '
        'explanation: B',
        'first',
    ),
    # DeepSeek-R1, whose thinking is begun in the prompt
    (
        'Okay, so I need to judge.\nBetter explanation: B\nHmm, wait.\n</think>\n\nExplanation A '
        'is right.\n\n**Better explanation: A**<｜end▁of▁sentence｜>',
        'first',
    ),
    (
        '<think>\nThe label is ( 12 / 4 ).\n</think>\n\n### Judgement:\n\n- **Explanation A** '
        'divides.\n- **Explanation B** multiplies.\n\n### Final Verdict:\n\\[\n\\boxed{\\text{'
        'Better explanation: A}}\n\\]',
        'first',
    ),
    # Llama, which went on as another turn
    (
        'Explanation B is better.\n\nBetter explanation: B<|eot_id|><|start_header_id|>assistant'
        '<|end_header_id|>\n\nBetter explanation: A',
        'second',
    ),
    # Gemma
    ('A gives the right operation.\n\n**Better explanation: A** \n<end_of_turn>\n', 'first'),
    (
        '*   Explanation A is wrong.\n*   Explanation B is right.\n\n**Better explanation:** B 👍',
        'second',
    ),
    # Mistral, Magistral
    (' Explanation B divides 12 by 4.\n\nBetter explanation: B</s>', 'second'),
    ('[THINK]Better explanation: A?[/THINK]Better explanation: B', 'second'),
    # Phi, Granite
    ('Explanation A is clear.\nBetter explanation: A<|end|>', 'first'),
    ('<think>B</think><response>Better explanation: A</response>', 'first'),
]

DRESSES = [
    ('### Better explanation: A', 'first'),
    ('### Better explanation\n\n**A**\n\n### Reason\n\nIt divides.', 'first'),
    ('Better explanation:\n\nA', 'first'),
    ('### Verdict: A', 'first'),
    ('### Verdict\nB', 'second'),
    ('### Verdict\n\n**Explanation B**', 'second'),
    ('### Final Verdict:\n\n> **Better explanation: A**', 'first'),
    ("**Verdict: It's a tie.**", 'tie'),
    ('**Verdict:** Explanation A is better because it shows each step.', 'first'),
    ('**Answer:** A', 'first'),
    ('**Final Answer**\n\nBetter explanation: B', 'second'),
    ('A slips.\n\n**Answer:** B', 'second'),
    ('## Final decision: 2', 'second'),
    ('**Better explanation: A**\n\n**Reason:** A computes 12, B computes 11.', 'first'),
    ('1. A is right.\n2. B is not.\n3. **Better explanation: A**', 'first'),
    ('- Better explanation: A', 'first'),
    ('✅ Better explanation: A', 'first'),
    ('**Better explanation:** **B**', 'second'),
    ('__Better explanation: B__', 'second'),
    ('"Better explanation: B"', 'second'),
    ("Better explanation: 'A'", 'first'),
    ('Better explanation: **Explanation A**', 'first'),
    ('Better explanation – A', 'first'),
    ('Better explanation：A', 'first'),
    ('Better explanation: <b>B</b>', 'second'),
    ('Better explanation: <tie>', 'tie'),
    ('<reasoning>A slips.</reasoning>Better explanation: B', 'second'),
    ('<p><strong>Better explanation:</strong> A</p>', 'first'),
    ('A miscounts the pens. Better explanation: B', 'second'),  # no line of its own
    ('Explanation A slips.\n\n**B**', 'second'),
    ('Better explanation: A (more accurate)', 'first'),
    ('Better explanation: A because Explanation B adds where it should divide.', 'first'),
    ('Better explanation: B. Explanation A is incomplete.', 'second'),
    ('Better explanation: Tie (both are equally accurate)', 'tie'),
    ('Better explanation: [A/B/tie]\nBetter explanation: A', 'first'),  # our words told again
    ('Both use 3 * 4.\n\n$$\\boxed{A}$$', 'first'),
    ('The better explanation is $\\boxed{\\text{B}}$.', 'second'),
    ('My final verdict is: [[B]]', 'second'),
    ('[[C]]', 'tie'),
    ('{"reason": "A is right.", "winner": "A"}', 'first'),
    ('```json\n{\n  "better_explanation": "B",\n  "reason": "short"\n}\n```', 'second'),
    ('{"winner": 2}', 'second'),
    ('A slips.\n<answer>\nBetter explanation: B\n</answer>', 'second'),
    ('<verdict>tie</verdict>', 'tie'),
]

NO_VERDICTS = [
    # both, neither, or one taken back
    'Better explanation: A / B',
    'Better explanation: A, B',
    'Better explanation: A, B or tie',
    'Better explanation: A?',
    'Better explanation: A, but B is better in style',
    'Better explanation: A. However, B is more accurate.',
    'Better explanation: A. B is better.',
    'Better explanation: A is not correct',
    'Better explanation: A and B are equal',
    'Better explanation: AB',
    'Better explanation: A\nWait, no.\nBetter explanation: B',
    '### Verdict: A\n### Verdict: B',
    '{"winner": "A"}\n{"winner": "B"}',
    'A is better than B in the first step, but B in the second.',
    # sections, lists and marks
    '### Explanation A\nWrong.\n### Explanation B\nRight.',
    '### A\nGood.\n\n### B\nBad.',
    '**A**\nslips\n**B**\nis right',
    '[A]\n[B]',
    '### Verdict\nA. Explanation A is wrong.\nB. Explanation B is right.',
    '### Verdict\n1. A slips.\n2. B does not.',
    '### Conclusion\nA, in contrast, is wrong.',
    '**Explanation A**\nVerdict: correct\n**Explanation B**\nVerdict: incorrect',
    '### Explanation A\nVerdict: 0\n### Explanation B\nVerdict: 1',
    'Verdict: 2 (of 5)',
    'Verdict: 2/5',
    # the question's own answer, told again
    '# Final answer: 2',
    'Question: What do 4 cost?\nAnswer: 2\nExplanation A: 2',
    'Question: Which?\nAnswer: A\n\nExplanation A slips.',
    'The answer is \\boxed{2}.',
    # the last word of what was too long to be searched whole
    'x' * 30_000 + '\nB',
    # nothing, or the beginning of something
    'Better explanation: <|im_end|>',
    '**Better explanation:',
    'Explanation B is',
    '<|im_end|>',
]


@pytest.mark.parametrize(('text', 'verdict'), ANSWERS + DRESSES)
def test_the_verdict_is_read_in_whatever_dress(text, verdict):
    assert read_verdict(text) == verdict


@pytest.mark.parametrize('text', NO_VERDICTS)
def test_what_is_no_verdict_is_not_guessed(text):
    assert read_verdict(text) == 'unreadable'


@pytest.mark.parametrize(('text', 'verdict'), ANSWERS + DRESSES)
def test_both_explanations_are_read_alike(text, verdict):
    names = str.maketrans('AB12', 'BA21')
    # Words that begin with these letters keep them.
    swapped = text.translate(names)
    for word in ('Better', 'Both', 'Answer'):
        swapped = swapped.replace(word.translate(names), word)
    opposite = {'first': 'second', 'second': 'first'}
    if '[[C]]' not in text:
        assert read_verdict(swapped) == opposite.get(verdict, verdict)


HOSTILE = [
    '<think>', '<think>a</think>', '</think>', '<', '<｜', '<|im_start|>', '<|channel|>final',
    '**', '**A', '*', '_', '-', '(', '[[', '[[A]]', '\\', '\\boxed{', '"', '"winner": ', '<answer>',
    '!', '!' * 5000 + 'x ', '. Better explanation:', '.    ', '\n', ' ', '\x00', '1. ', '#',
    '</b', '<em', 'verdict: ', 'my final ', 'answer:\n',
    'Better explanation: A because ', 'b better ',
]  # fmt: skip


@pytest.mark.parametrize('piece', HOSTILE, ids=lambda piece: repr(piece[:24]))
def test_anything_is_read_in_linear_time(piece):
    for length in (15_000, 200_000):  # of which the end is searched
        for frame in ('{}', '{}\nBetter explanation: A because {}', 'x\n{}'):
            text = frame.replace('{}', (piece * length)[:length])
            start = time.monotonic()
            read_verdict(text)
            assert time.monotonic() - start < 2
