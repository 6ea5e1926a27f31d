"""Similar texts are found exactly: as by comparing everything with everything."""

import itertools
import random

import numpy as np
import pytest

from qcrd_jax.data.shingles import ShingleIndex, jaccard, shingles_of


def texts(number, seed, vocabulary=9, longest=14):
    """Random texts of few words, so that many are similar; some are empty, some are equal."""
    draw = random.Random(seed)
    words = [f'w{place}' for place in range(vocabulary)]
    weights = [1 / (1 + place) for place in range(vocabulary)]
    return [draw.choices(words, weights, k=draw.randrange(longest)) for _ in range(number)]


@pytest.mark.parametrize('least', [0.3, 0.5, 0.7, 1.0])
@pytest.mark.parametrize('seed', [0, 1])
def test_what_is_found_is_what_comparing_everything_finds(least, seed):
    held, asked = texts(150, seed), texts(200, seed + 10)
    asked += [['new'], ['w0', 'new', 'w1']]
    wanted = np.arange(len(held)) % 3 > 0
    pairs = ShingleIndex(held, least).near(asked, wanted)
    found = {(r, p): s for r, p, s in zip(*map(np.ndarray.tolist, pairs), strict=True)}
    expected = {}
    for row, one in enumerate(asked):
        for place, other in enumerate(held):
            mine = {*one, *itertools.pairwise(one)}
            theirs = {*other, *itertools.pairwise(other)}
            both, either = len(mine & theirs), len(mine | theirs)
            if wanted[place] and both and both >= least * either - 1e-9:
                expected[row, place] = both / either
    assert len(expected) > 10
    assert found == pytest.approx(expected)


def test_slices_give_the_same(monkeypatch):
    held, asked = texts(60, 3), texts(80, 4)
    index = ShingleIndex(held, 0.5)
    everything = np.ones(len(held), bool)
    whole = index.near(asked, everything)
    monkeypatch.setattr('qcrd_jax.data.shingles._AT_ONCE', 30)
    for one, other in zip(whole, index.near(asked, everything), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_nearest_is_the_first_of_equals():
    index = ShingleIndex([['a', 'b', 'c'], ['x']], 0.3)
    asked = [['a', 'b'], ['a', 'b', 'c'], ['a', 'b', 'c'], ['x']]
    nearest = index.near(asked, np.ones(2, bool)).nearest()
    assert nearest.rows.tolist() == [1, 3]
    assert nearest.places.tolist() == [0, 1]
    assert nearest.similarities.tolist() == [1.0, 1.0]


def test_nothing_to_compare_is_no_error():
    for held in ([], [[]], [['a']]):
        index = ShingleIndex(held, 0.7)
        for asked in ([], [[]], [['b']]):
            pairs = index.near(asked, np.ones(len(held), bool))
            assert len(pairs.rows) == len(pairs.nearest().rows) == 0


def test_jaccard_of_shingles_by_hand():
    # a, b, c, `a b`, `b c` and a, b, d, `a b`, `b d`: 3 of 7.
    assert jaccard(shingles_of(['a', 'b', 'c']), shingles_of(['a', 'b', 'd'])) == 3 / 7
