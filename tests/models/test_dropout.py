"""Dropout's masks: how often, from what, and that they know neither shapes nor neighbours."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.random import threefry2x32_p

from qcrd_jax.models.architectures import student_of
from qcrd_jax.models.dropout import Draws, drop, kept
from tests.support import small

DRAWS = Draws.of(jax.random.key(3))


def test_units_are_kept_as_often_as_asked_and_one_by_one():
    # The rate, to within five standard errors of 10^6 draws; neighbours do not share their fate.
    for rate in (0.1, 0.3):
        (keep,) = kept(DRAWS, rate, 0, (1, 1000, 1001))
        error = 5 * (rate * (1 - rate) / keep.size) ** 0.5
        assert abs(float(keep.mean()) - (1 - rate)) < error
        for pairs in (keep[:, 1:] & keep[:, :-1], keep[1:] & keep[:-1]):
            assert abs(float(pairs.mean()) - (1 - rate) ** 2) < 2 * error


def test_the_bits_of_a_unit_are_those_of_its_counters():
    # In Python's own whole numbers; Threefry is JAX's.
    layer, site, row, position, unit, word = 5, 3, 7, 11, 13, 2**32
    words = jax.random.key_data(jax.random.key(3))
    start, last = threefry2x32_p.bind(*words, np.uint32(row), np.uint32(position))
    bits = (int(start) + (layer << 20 | site << 16 | unit) * 0x9E3779B9) % word
    bits = (bits ^ bits >> 16) * 0x21F0AAAD % word
    bits = (bits ^ bits >> 15) * 0xD35A2D97 % word
    bits = bits ^ bits >> 15 ^ int(last)
    for rate in (0.0001, bits / word - 1e-6, bits / word + 1e-6, 0.9999):
        keep = kept(DRAWS.in_layer(layer), rate, site, (8, 12, 14))
        assert bool(keep[row, position, unit]) == (bits >= round(rate * word))


@pytest.mark.parametrize('shape', [(4, 3, 5), (4, 2, 3, 5), (4, 1, 2, 3, 5)])
def test_a_mask_is_a_part_of_every_larger_one(shape):
    mask = kept(DRAWS, 0.5, 1, shape)
    *lead, positions, units = shape
    larger = kept(DRAWS, 0.5, 1, (lead[0] + 2, *lead[1:], positions + 3, units + 4))
    np.testing.assert_array_equal(larger[:4, ..., :positions, :units], mask)
    part = kept(DRAWS.of_rows(jnp.array([1, 2])), 0.5, 1, (2, *shape[1:]))
    np.testing.assert_array_equal(part, mask[1:3])


def test_another_key_site_layer_or_row_drops_others():
    def mask(draws=DRAWS, site=0):
        return np.asarray(kept(draws, 0.5, site, (2, 40, 40)))

    others = [mask(Draws.of(jax.random.key(4))), mask(site=1), mask(DRAWS.in_layer(1))]
    for other in (*others, mask()[::-1]):
        assert 0.45 < np.mean(other == mask()) < 0.55


def test_what_is_kept_is_scaled_and_shared_along_an_axis():
    x = jnp.arange(1.0, 25.0).reshape(2, 3, 2, 2)
    dropped = drop(x, 0.5, DRAWS, 0, shared_axis=1)
    assert set(np.unique(dropped / x)) == {0.0, 2.0}
    assert (np.asarray(dropped == 0) == np.asarray(dropped == 0)[:, :1]).all()
    assert drop(x, 0.5, None, 0) is x


def test_a_counter_that_would_run_over_is_refused():
    for shape, name in (((2**31, 2, 1, 1), 'rows'), ((1, 1, 2**16 + 1), 'units')):
        with pytest.raises(ValueError, match=name):
            kept(DRAWS, 0.5, 0, shape)


CONFIGS = {'t5': small.t5(dropout_rate=0.3), 'decoder': small.decoder(dropout_rate=0.3)}


@pytest.mark.parametrize('config', CONFIGS.values(), ids=CONFIGS)
def test_what_a_student_computes_depends_on_no_padding_company_or_group(config):
    student, rng = student_of(config, jnp.float32), np.random.default_rng(0)
    params = jax.jit(student.init)(jax.random.key(0))
    keys = list(jax.random.split(jax.random.key(1), 3))

    def ids(*shape):
        drawn = rng.integers(4, student.vocab_size, shape)
        drawn[..., -1] = student.eos_id
        return jnp.asarray(drawn, jnp.int32)

    @jax.jit
    def states(prompts, targets, rows=None):
        draws = [Draws.of(key)._replace(rows=rows) for key in keys]
        context = student.encode(params, prompts, prompts != student.pad_id, draws[0])
        contexts = [jax.tree.map(lambda leaf, i=i: leaf[:, i], context) for i in range(2)]
        groups = list(zip(contexts, targets, strict=True))
        return student.decode_states(params, groups, draws[1:]), groups, draws

    prompts, targets = ids(3, 2, 5), [ids(3, 1, 3), ids(3, 2, 4)]
    expected, groups, draws = states(prompts, targets)
    decode = jax.jit(lambda group, draw: student.decode_states(params, [group], [draw]))
    for place in range(2):  # each group by itself
        (alone,) = decode(groups[place], draws[1 + place])
        np.testing.assert_allclose(alone, expected[place], atol=2e-5)
    padded = [jnp.pad(x, ((0, 0), (0, 0), (0, 3)), constant_values=student.pad_id)
              for x in (prompts, *targets)]  # fmt: skip
    for wide, narrow in zip(states(padded[0], padded[1:])[0], expected, strict=True):
        np.testing.assert_allclose(wide[:, :, : narrow.shape[2]], narrow, atol=2e-5)
    chosen = jnp.array([2, 0])
    rows = states(prompts[chosen], [x[chosen] for x in targets], chosen)[0]
    for part, whole in zip(rows, expected, strict=True):
        np.testing.assert_allclose(part, whole[chosen], atol=2e-5)
    with_others = states(prompts, targets, jnp.arange(1, 4))[0]  # or nothing was dropped
    assert np.abs(np.asarray(with_others[1] - expected[1])).max() > 0.1
