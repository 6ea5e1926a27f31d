"""The noisy teacher of the word problems slips as often, and in the ways, that it says."""

import itertools
import re

import pytest

from qcrd_jax.data.answers import answers_match, canonical
from qcrd_jax.data.self_consistency import split_samples
from qcrd_jax.data.sources import mwp


def test_rationales_compute_what_they_state_without_slips():
    splits = mwp.generate(mwp.Settings(train=500, samples=3, teacher_temperature=0.0))
    for example in itertools.chain(*splits.values()):
        for sample in example.samples:
            assert answers_match(sample.answer, example.label, 'equation')
            for left, result in re.findall(r'(\d+ [-+*/] \d+) = (\d+)', sample.rationale):
                assert canonical(left, 'equation') == canonical(result, 'equation')
            assert sample.text == f'{sample.rationale} The answer is {sample.answer}.'
            assert sample.source == 'mwp-teacher'


@pytest.mark.parametrize(('temperature', 'rate'), [(0.7, 0.193), (1.5, 0.339)])
def test_slips_follow_the_temperature(temperature, rate):
    settings = mwp.Settings(
        train=1500, two_step=0.0, distractors=0.5, teacher_temperature=temperature
    )
    examples = mwp.generate(settings)['train']
    wrong = [
        not answers_match(sample.answer, example.label, 'equation')
        for example in examples
        for sample in example.samples
    ]
    # 1 / (1 + exp(1 / T)); a few slips do no harm (2 + 2 for 2 * 2). 7500 draws: 3 sd are 0.017.
    assert sum(wrong) / len(wrong) == pytest.approx(rate, abs=0.02)


def test_every_kind_of_slip_occurs():
    settings = mwp.Settings(train=1500, two_step=0.0, distractors=1.0, operations='-')
    kinds = set()
    for example in mwp.generate(settings)['train']:
        a, b = re.findall(r'\d+', example.label)
        for sample in example.samples:
            step = re.search(r'(\d+) ([-+*/]) (\d+) = (-?\d+)', sample.rationale).groups()
            if step[:3] == (b, '-', a):
                kinds.add('swapped operands')
            elif step[:3] == (a, '-', b):
                kinds.add('right' if int(a) - int(b) == int(step[3]) else 'arithmetic slip')
            elif step[0] == a and step[2] == b:
                kinds.add('wrong operation')
            elif step[:2] == (a, '-'):
                assert step[2] in re.findall(r'\d+', example.input)
                kinds.add('distractor used')
    assert kinds == {
        'right', 'swapped operands', 'arithmetic slip', 'wrong operation', 'distractor used',
    }  # fmt: skip


def test_self_consistency_is_better_than_one_sample():
    splits = mwp.generate(mwp.Settings(train=600, validation=50, test=100))
    labels = [canonical(example.label, 'equation') for example in splits['train']]
    votes = [split_samples(e.samples, e.label, 'equation').vote for e in splits['train']]
    singles = [canonical(e.samples[0].answer, 'equation') for e in splits['train']]
    right = sum(vote == label for vote, label in zip(votes, labels, strict=True)) / 600
    single = sum(vote == label for vote, label in zip(singles, labels, strict=True)) / 600
    assert right > 0.93 > 0.85 > single
