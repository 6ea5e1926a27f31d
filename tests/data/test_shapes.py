"""Shapes of batches: what they hold, how few they are, and what they save."""

import numpy as np
import pytest

from qcrd_jax.data import batches, shapes
from qcrd_jax.data.encoded import Encoded, Groups, Ragged
from qcrd_jax.data.lengths import Lengths
from qcrd_jax.data.shapes import Shapes, Sizes

LENGTHS = Lengths(source=64, label=16, rationale=96, positives=2, negatives=1)


def ids(size):
    return np.array([*range(2, size + 1), 1], np.int32)


def make_encoded(count=200, seed=0):
    """Questions, labels and rationales of which few are long, as real ones are."""
    rng = np.random.default_rng(seed)

    def sizes(longest):
        return np.maximum(1, np.minimum(longest, rng.exponential(longest / 5, count))).astype(int)

    prompts, label, longest = sizes(64), sizes(16), sizes(96)
    prompts[0], label[1], longest[2] = 64, 16, 96
    positives = [[ids(size), ids(max(size // 2, 1))][: rng.integers(0, 3)] for size in longest]
    negatives = [[ids(size)] * rng.integers(0, 2) for size in longest]
    positives[2] = [ids(96)]
    texts = Ragged.of([ids(size) for size in prompts])
    labels = Ragged.of([ids(size) for size in label])
    return Encoded(
        texts, texts, texts, labels, Groups.of(positives), Groups.of(negatives), pad_id=0, eos_id=1
    )


ENCODED = make_encoded()


def chosen(most, negatives=True):
    return shapes.choose(ENCODED, LENGTHS, batch_size=4, most=most, negatives=negatives)


def test_sizes_are_those_of_the_longest_sequence_of_an_example():
    sizes = Sizes.of(ENCODED, LENGTHS)
    for i in range(len(ENCODED)):
        rationales = [*ENCODED.positives[i], *ENCODED.negatives[i]]
        assert sizes.rationale[i] == max(map(len, rationales), default=0)
        assert sizes.source[i] == len(ENCODED.predict[i])
    positives = Sizes.of(ENCODED, LENGTHS, negatives=False).rationale
    assert positives.tolist() == [max(map(len, each), default=0) for each in ENCODED.positives]
    assert (positives < sizes.rationale).any()
    cut = Sizes.of(ENCODED, Lengths(32, 8, 40, 2, 1))
    assert (cut.source.max(), cut.label.max(), cut.rationale.max()) == (32, 8, 40)


def test_the_first_shape_holds_everything_and_one_is_enough_where_one_is_asked_for():
    for most in (1, 2, 4):
        found = chosen(most).all
        assert found[0] == LENGTHS
        assert 1 <= len(found) <= most
        for shape in found:
            assert (shape.positives, shape.negatives) == (2, 1)
            assert shape.source % 8 == shape.label % 8 == shape.rationale % 8 == 0
    assert len(chosen(4).all) > 2


def test_a_batch_gets_the_cheapest_shape_that_holds_it():
    small = Lengths(16, 8, 24, 2, 1)
    middle = Lengths(32, 16, 48, 2, 1)
    some = Shapes((LENGTHS, middle, small))
    for longest, expected in (
        ([16, 8, 24], small),
        ([17, 8, 24], middle),
        ([1, 1, 25], middle),
        ([33, 1, 1], LENGTHS),
    ):
        assert some.holding(np.array(longest)) == expected


def test_shapes_save_padding():
    stream = batches.training_batches(
        ENCODED, LENGTHS, batch_size=4, seed=0, shapes=chosen(4), bucket=8
    )
    tokens, whole, used = 0, 0, set()
    for step in range(100):
        batch = stream.fitted(step)
        used.add((batch['predict_ids'].shape, batch['positive_ids'].shape))
        for name in ('predict_ids', 'positive_ids'):
            tokens += batch[name].size
            whole += stream[step][name].size
    assert len(used) <= 4
    assert tokens < 0.75 * whole


@pytest.mark.parametrize('negatives', [True, False])
def test_a_fitted_batch_holds_what_the_whole_one_holds(negatives):
    stream = batches.training_batches(
        ENCODED, LENGTHS, batch_size=4, seed=1, shapes=chosen(4, negatives), bucket=8
    )
    shorter = 0
    for step in range(30):
        whole, fitted = stream[step], stream.fitted(step)
        for name, leaf in whole.items():
            part = fitted[name]
            if name.endswith('_ids'):
                size = part.shape[-1]
                np.testing.assert_array_equal(leaf[..., :size], part)
                assert not leaf[..., size:].any()
            else:
                np.testing.assert_array_equal(leaf, part)
        longest = max(np.count_nonzero(whole['positive_ids'], axis=-1).max(), 1)
        assert set(whole['rationale_limit']) == {-(-longest // 8) * 8}
        assert fitted['positive_ids'].shape[-1] >= fitted['rationale_limit'][0]
        wide = fitted['negative_ids'].shape[-1]
        assert wide == (fitted['positive_ids'].shape[-1] if negatives else LENGTHS.rationale)
        shorter += fitted['positive_ids'].shape[-1] < wide
    assert (shorter > 0) == (not negatives)


def test_batches_of_several_streams_come_in_one_shape():
    some = chosen(4)
    streams = [
        batches.training_batches(ENCODED, LENGTHS, batch_size=4, seed=seed, shapes=some, bucket=8)
        for seed in range(3)
    ]
    narrower = 0
    for step in range(20):
        together = batches.fitted_together(streams, step)
        (shape,) = {batch['positive_ids'].shape for batch in together}
        alone = [stream.fitted(step)['positive_ids'].shape for stream in streams]
        assert shape >= max(alone)
        narrower += min(alone) < shape
    assert narrower
