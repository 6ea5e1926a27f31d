"""Positives and negatives by vote, by gold label, and undenoised."""

from fractions import Fraction

import pytest

from qcrd_jax.data.schema import TeacherSample
from qcrd_jax.data.self_consistency import majority, split_samples


def sample(rationale, answer):
    return TeacherSample(text='', rationale=rationale, answer=answer, source='t')


SAMPLES = (
    sample('a', '42'),
    sample('b', '( 84 / 2 )'),  # the same value, spelled otherwise
    sample('c', '43'),
    sample('d', ''),  # unreadable
    sample('', '42'),  # votes, but has nothing to teach
)


def test_majority_is_over_values():
    split = split_samples(SAMPLES, '43', 'equation')
    assert split == (('a', 'b'), ('c', 'd'), Fraction(42))


def test_gold_follows_the_label():
    assert split_samples(SAMPLES, '43', 'equation', 'gold') == (('c',), ('a', 'b', 'd'), 43)


def test_a_sample_without_rationale_still_votes():
    samples = (sample('a', '1'), sample('', '2'), sample('', '2'), sample('b', '2'))
    assert split_samples(samples, '1', 'equation') == (('b',), ('a',), 2)


def test_ties_go_to_the_answer_seen_first():
    samples = (sample('a', '7'), sample('b', '8'), sample('c', '8'), sample('d', '7'))
    assert split_samples(samples, '8', 'equation') == (('a', 'd'), ('b', 'c'), 7)


@pytest.mark.parametrize('how', ['self_consistency', 'gold'])
def test_nothing_readable_gives_no_positive(how):
    samples = (sample('a', ''), sample('b', ''))
    assert split_samples(samples, '', 'equation', how) == ((), ('a', 'b'), None)


def test_first_is_undenoised():
    samples = (sample('', '1'), sample('wrong', '2'), sample('right', '1'))
    assert split_samples(samples, '1', 'equation', 'first') == (('wrong',), (), 2)
    assert split_samples((), '1', 'equation', 'first') == ((), (), None)


def test_one_text_is_never_both_positive_and_negative():
    samples = (sample('same', '1'), sample('same', '2'), sample('b', '1'))
    assert split_samples(samples, '1', 'equation') == (('same', 'b'), (), 1)


def test_majority_of_nothing():
    assert majority([]) is None
    assert majority([None, None]) is None
    assert majority([None, 'b', 'a', 'a', 'b']) == 'b'
