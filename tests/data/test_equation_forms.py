"""The forms in which the teachers of today state a number.

The expected values are what a careful person reads; None where nothing may be read.
"""

from fractions import Fraction

import pytest

from qcrd_jax.data.answers import canonical
from qcrd_jax.data.teacher_output import parse_answer

_LONG = (  # longer than a text may be that ends without a full stop
    'The shop sells pens and each of the pens costs the same, as the story says, and nothing else '
    'is said of it. '
) * 5


@pytest.mark.parametrize(
    ('text', 'value'),
    [
        (_LONG + '\n#### 1,250', 1250),
        (_LONG + '\n#### -3', -3),
        (_LONG + '\n#### $15', 15),
        (_LONG + '\nAnswer: 90', 90),
        (_LONG + '\n**Answer:** 90 books', 90),
        (_LONG + '\nFinal Answer: $\\boxed{90}$', 90),
        (_LONG + '\n$90$', 90),
        (_LONG + '\n$$15 \\times 6 = 90$$', 90),
        (_LONG + '\n= 90', 90),
        (_LONG + '\n90', 90),
        (_LONG + '\n**90 books**', 90),
        (_LONG + '\nAns: 90', 90),
        (_LONG + '\nans=90', 90),
        (_LONG + '\n\\(90\\)', 90),
        (_LONG + '\n__90__', 90),
        (_LONG + '\nA: 90 books', 90),
        (_LONG + '\n**A:** 90', 90),
        (_LONG + '\n→ 90', 90),
        (_LONG + '\n`90`', 90),
        (_LONG + '\n**Total = 90 books**', 90),
        (_LONG + '\n#### 90\n', 90),
        (_LONG + '\n\n**Final answer:** **90**', 90),
        (_LONG + '\nSo she has 90', None),
        (_LONG + '\nThen 90 more', None),
        (_LONG + '\n15 * 6 =', None),
        (_LONG + '\nTherefore, she has **90 books**.', 90),
        (_LONG + '\n#### The answer is 90', 90),
        (_LONG + '\nResult: 90', 90),
        (_LONG + '\nThe total is 90.', 90),
        (_LONG + '\n**Therefore, 15 * 6 = 90.**', 90),
        (_LONG + '\n2. Multiply 15 by', None),
        (_LONG + '\n* 90', None),
        ('<think>a</think>The answer is 5.', 5),
        ('Okay, let me see. 4*3 = 11? no 12\n</think>\n\n**12**', 12),
        ('<thinking>7</thinking>\n8', 8),
        ('<think></think>\n\n4 + 1 = 5.', 5),
        ('<think>\nThe answer is 5.', None),
        ('[THINK]5[/THINK]6', 6),
        ('<think>5<think>6</think>7</think>8', 8),
        (
            '<|channel|>analysis<|message|>5?<|end|><|start|>assistant<|channel|>final<|message|>'
            'The answer is 6.<|return|>',
            6,
        ),
        ('<|channel|>analysis<|message|>5?', None),
        ('<think>first</think>The answer is 3.<think>or 4</think>', 3),
        ('<reasoning>4*3=12</reasoning><answer>12</answer>', 12),
        ('Reasoning here.\n<answer>\n12\n</answer>\n', 12),
        ('<answer>12', 12),
        ('<answer>$12.50</answer>', Fraction(25, 2)),
        ('<answer>The answer is 12.</answer>', 12),
        ('<Answer>12 apples</Answer>', 12),
        ('<answer>11</answer> no wait <answer>12</answer>', 12),
        ('<final_answer>12</final_answer>', 12),
        ('<answer>\\boxed{12}</answer>', 12),
        ('{"reasoning": "4*3", "answer": 12}', 12),
        ('```json\n{"reasoning": "4*3", "answer": "12"}\n```', 12),
        ('<answer></answer>', None),
        ('The answer is 5 hundred.', 500),
        ('The answer is 1.5 billion dollars.', 1500000000),
        ('The answer is half a dozen.', 6),
        ('The answer is twelve.', 12),
        ('The answer is ninety-nine.', 99),
        ('The answer is two thousand and five.', 2005),
        ('The answer is one-half.', Fraction(1, 2)),
        ('The answer is two thirds.', Fraction(2, 3)),
        ('The answer is negative three.', -3),
        ('The answer is negative 3.', -3),
        ('The answer is minus twelve degrees.', -12),
        ('The answer is two and a half hours.', Fraction(5, 2)),
        ('The answer is 3 and three quarters.', Fraction(15, 4)),
        ('The answer is one dozen.', 12),
        ('The answer is a hundred.', 100),
        ('The answer is 4 lakh.', 400000),
        ('The answer is twenty.', 20),
        ('The answer is three million two hundred thousand.', 3200000),
        ('The answer is ten or twelve.', None),
        ('The answer is $3k.', 3000),
        ('The answer is 2 million people.', 2000000),
        ('The answer is 2-3 million.', None),
        ('The answer is 0.5 million.', 500000),
        ('The answer is a quarter.', Fraction(1, 4)),
        ('The answer is three fourths of the cake.', Fraction(3, 4)),
        ('The answer is one.', 1),
        ('The answer is 1 and a half.', Fraction(3, 2)),
        ('The answer is 2 1/2 cups.', Fraction(5, 2)),
        ('The answer is five dozen eggs.', 60),
        ('The answer is six point five.', Fraction(13, 2)),
        ('The answer is zero.', 0),
        ('The answer is one hundred twenty-three thousand four hundred fifty-six.', 123456),
        ('The answer is Rs. 42.', 42),
        ('The answer is Rs 42', 42),
        ('The answer is US$42.', 42),
        ('The answer is INR.1,50,000', 150000),
        ('The answer is EUR.20', 20),
        ('The answer is €20.', 20),
        ('The answer is $.50', Fraction(1, 2)),
        ('The answer is $42.00.', 42),
        ('The answer is 42 USD.', 42),
        ('The answer is Re.1', 1),
        ('The answer is ₹500.', 500),
        ('The answer is £3.20', Fraction(16, 5)),
        ('The answer is 50 cents.', 50),
        ('The answer is $ 1,234.', 1234),
        ('The answer is 3 to 5.', None),
        ('The answer is between 5 and 10.', None),
        ('The answer is 10—12.', None),
        ('The answer is 10 – 12 hours.', None),
        ('The answer is $5-$10.', None),
        ('The answer is 20-25%.', None),
        ('The answer is 12-5.', 7),
        ('The answer is 3–4 days.', None),
        ('The answer is 1.5-2 hours.', None),
        ('The answer is 15 - 5.', 10),
        ('The answer is 5-10 = -5.', -5),
        ('\\boxed{12{,}345}', 12345),
        ('\\boxed{\\$42}', 42),
        ('\\boxed{42\\text{ apples}}', 42),
        ('\\boxed{3.5\\,\\text{kg}}', Fraction(7, 2)),
        ('\\boxed{\\dfrac{3}{4}}', Fraction(3, 4)),
        ('\\boxed{\\tfrac34}', Fraction(3, 4)),
        ('\\boxed{2\\frac{1}{2}}', Fraction(5, 2)),
        ('\\boxed{-\\frac{1}{2}}', Fraction(-1, 2)),
        ('\\boxed{45^\\circ}', 45),
        ('\\boxed{90^{\\circ}}', 90),
        ('\\boxed{10\\ \\text{cm}^2}', 10),
        ('\\boxed{10 \\mathrm{~cm}}', 10),
        ('\\boxed{20\\text{ m/s}}', 20),
        ('\\boxed{x = 5}', 5),
        ('\\boxed{1,\\!000}', 1000),
        ('\\boxed{1\\;000}', 1000),
        ('\\boxed{\\text{42}}', 42),
        ('$\\boxed{\\textbf{42}}$', 42),
        ('\\boxed{2^{10}}', None),
        ('\\boxed{\\sqrt{2}}', None),
        ('\\boxed{\\pi}', None),
        ('\\boxed{5 \\text{ or } 6}', None),
        ('\\boxed{\\left(3+4\\right)}', 7),
        ('\\[ \\boxed{42} \\]', 42),
        ('\\boxed{50\\%}', 50),
        ('\\boxed{10\\,\\mathrm{m}^{2}}', 10),
        ('\\boxed{\\frac{1}{2}\\text{ hour}}', Fraction(1, 2)),
        ('\\boxed{3 \\times 10}', 30),
        ('\\boxed{12 \\text{ cm}^3}', 12),
        ('$42$', 42),
        ('The answer is $\\frac{3}{4}$.', Fraction(3, 4)),
        ('\\boxed{+5}', 5),
        ('\\boxed{1 000}', None),
        ('The answer is 10 m².', 10),
        ('The answer is 10 m^2.', 10),
        ('The answer is 60 km/h.', 60),
        ('The answer is 5 m/s.', 5),
        ('The answer is $5/hour.', 5),
        ('The answer is 25°C.', 25),
        ('The answer is 25 °.', 25),
        ('The answer is 30%.', 30),
        ('The answer is 10 ft².', 10),
        ('The answer is 10 cm³.', 10),
        ('The answer is 10 sq. ft.', 10),
        ('The answer is 5 kg.', 5),
        ('The answer is 3 miles per hour.', 3),
        ('The answer is 2x².', None),
        ('The answer is 5².', None),
        ('The answer is 10 square meters.', 10),
        ('The answer is 7 in.', 7),
        ('The answer is + 5.', 5),
        ('The answer is +3.5 points.', Fraction(7, 2)),
        ('The answer is +/- 5.', None),
        ('The answer is ±5.', None),
        (
            "Let's solve it.\n\n## Problem Analysis\nTom has 2.\n\n## Solution\n2 "
            '+ 3 = 5. The answer is 5.',
            5,
        ),
        ('### Task Description\nAdd.\n\n2+3=5\n\nThe answer is 5.', 5),
        ("Let's see.\n\n### Example calculation:\n2+3=5. The answer is 5.", 5),
        (
            "I'll solve this step by step.\n\n### Question:\nTom has 2 pens and "
            'gets 3. How many?\n\n### Solution:\n2+3=5\n\nThe answer is 5.',
            5,
        ),
        (
            'Sure, here is the solution:\n\n**Problem:** Tom has 2 pens and gets '
            '3.\n\n**Solution:** 2 + 3 = 5.\n\nThe answer is 5.',
            5,
        ),
        (
            'To solve this, we restate it.\nQ: Tom has 2 pens and gets 3.\nA: 2 + '
            '3 = 5. The answer is 5.',
            5,
        ),
        ('Question: Tom has 2 pens and gets 3.\nAnswer: 5', 5),
        (
            'Sure!\n\nQuestion: Tom has 2 pens.\n\nThe answer is 5.\n\nQuestion: '
            'Tom has 9.\n\nThe answer is 9.',
            5,
        ),
        ('2+3=5. The answer is 5.\n\n### Question 2:\nThe answer is 9.', 5),
        ('2+3=5. The answer is 5.\n\nProblem: x\nThe answer is 9.', 5),
        ('2+3=5. The answer is 5. Q: How many? A: The answer is 7.', 5),
        ('The answer is 5.\n\nHuman: And 7?\nThe answer is 7.', 5),
        ('It is 5.\n\nQ: Tom?\nA: 7', 5),
        ('The answer is 5.<|eot_id|>', 5),
        ('<s>The answer is 5.</s>', 5),
        ('The answer is 5.<|endoftext|>Human: 7? The answer is 7.', 5),
        ('The answer is 5.<end_of_turn>', 5),
        (
            '<|im_start|>assistant\nThe answer is '
            '5.<|im_end|>\n<|im_start|>user\nNext? The answer is 7.',
            5,
        ),
        ('The answer is 5.<|im_end|>\nThe answer is 9.', 5),
        ('[/INST] The answer is 5.</s>', 5),
        ('<pad>5</s>', 5),
        (
            '<|begin_of_text|><|start_header_id|>assistant<|end_header_id|>\n\nThe '
            'answer is 5.<|eot_id|>',
            5,
        ),
        ('The answer is 5.<eos>', 5),
        ('5<|end|>', 5),
        ('The answer is 42, since 6 boxes of 7 are 42.', 42),
        ('The answer is 42, as there are 6 boxes of 7.', 42),
        ('The answer is 42 due to 6 boxes of 7.', 42),
        ('The answer is 42, which is 6 times 7.', 42),
        ('The answer is 42 (because 6 * 7 = 42).', 42),
        ('The answer is 42 apples (6 boxes with 7 each).', 42),
        ('The answer is 42, not 40.', 42),
        ('The answer is 42 (not 40).', 42),
        ('6 * 7 = 42. I hope this helps!', 42),
        ('6 * 7 = 42 apples.\n\nLet me know if you have any questions.', 42),
        ('6 * 7 = 42 apples. Well done! 😊', 42),
        ("6 * 7 = 42 apples. That's it!", 42),
        ('He has 6 * 7 = 42 apples. Then he eats some.', None),
        ('The answer is 42. Great!', 42),
        ('42! Great job.', 42),
        ('So he has 42 apples. Feel free to ask more.', 42),
        ('The answer is 42 – six boxes of seven.', 42),
        ('The answer is 10 (5 + 5).', 10),
        ('The answer is 10 (5 + 6).', None),
        ('The answer is 42: 6 boxes of 7.', None),
        ('The answer is 3 * 14 = 42.', 42),
        ('The answer is 2,500.', 2500),
        ('The answer is 2.500,50', None),
        ('The answer is five (5).', 5),
        ('The answer is 5 (five).', 5),
        ('The answer is 7 days and 3 hours.', None),
        ('The answer is 3:45 PM.', None),
        ('Answer = 5', 5),
        ('Ans. 5', 5),
        ('The answer is approximately 3.33.', Fraction(333, 100)),
        ('The answer is ~5.', 5),
    ],
)
def test_equations(text, value):
    assert canonical(parse_answer(text, 'equation')[1], 'equation') == value


# In the manner of GSM8K: calculator annotations, and the answer behind four marks.
_SOLUTION = (
    'Mia picks 6*4=<<6*4=24>>24 plums on Monday.\nShe picks half as many, 24/2=<<24/2=12>>12, on '
    'Tuesday.\nTogether that is 24+12=<<24+12=36>>36 plums.\n#### 36'
)


def test_a_solution_in_the_manner_of_gsm8k():
    rationale, answer = parse_answer(_SOLUTION, 'equation')
    assert canonical(answer, 'equation') == 36
    assert rationale == (
        'Mia picks 6*4=24 plums on Monday.\nShe picks half as many, 24/2=12, on Tuesday.\n'
        'Together that is 24+12=36 plums.'
    )
    assert canonical('#### 36', 'equation') == canonical('36', 'equation') == 36


@pytest.mark.parametrize(
    ('label', 'value'),
    [('2 million', 2_000_000), ('$1,250.50', Fraction(2501, 2)), ('forty-two', 42), ('3-5', None)],
)
def test_labels_pass_the_same_reader(label, value):
    assert canonical(label, 'equation') == value
