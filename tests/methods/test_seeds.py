"""Several seeds in one program give the numbers of one run after another."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qcrd_jax.methods import optimizers, seeds, steps
from qcrd_jax.methods.stepping import Progress, Stepper
from qcrd_jax.ring import Ring
from tests.methods.test_steps import (
    JUDGE,
    RATE,
    SAMPLING,
    STUDENT,
    assert_trees_close,
    make_batch,
    make_state,
)

SEEDS, LAG = 2, 2
KEYS = [jax.random.key(seed) for seed in range(SEEDS)]
INITIALISE = jax.jit(lambda key: (STUDENT.init(key), JUDGE.init(key)))
INITIAL = [INITIALISE(jax.random.key(20 + seed)) for seed in range(SEEDS)]
OPTIMIZER = optimizers.adamw(RATE)
SHARED = steps.MutualInformation(variant='masked')
CONTRAST = steps.Contrast(update_every=3, margin=3.1)
ARGUMENTS = {
    'ring': (STUDENT, OPTIMIZER, JUDGE, OPTIMIZER, CONTRAST, SAMPLING, SHARED),
    'fixed': (STUDENT, OPTIMIZER, None, None, CONTRAST, SAMPLING),
}


class Batches:
    """Another order of batches for every seed."""

    def __init__(self, seed):
        self.seed = seed

    def __getitem__(self, step):
        return make_batch(100 * self.seed + step)


def make_step(method, module):
    """The step of a method for one seed (`steps`) or for several (`seeds`)."""
    if method in ARGUMENTS:
        return module.make_qcrd_step(*ARGUMENTS[method])
    step = steps.make_finetune_step(STUDENT, OPTIMIZER)
    return seeds.over_seeds(step) if module is seeds else step


def start(method, seed):
    state = make_state(INITIAL[seed], OPTIMIZER, OPTIMIZER if method == 'ring' else None)
    ring = Ring.create(INITIAL[seed][0], LAG) if method == 'ring' else None
    return Progress(state, ring)


def alone(method, seed, step, count):
    """One seed, step after step: its progress and its losses."""
    (state, ring), losses = start(method, seed), []
    for t in range(count):
        past = state.params
        generator = ring.generator(t) if ring else INITIAL[seed][0]
        state, metrics = step(state, generator, Batches(seed)[t], KEYS[seed])
        ring = ring.push(t, past) if ring else None
        losses.append(float(metrics['loss'][0]))
    return Progress(state, ring), losses


# With a ring, five steps: two chunks of its length, a single step, and one update of the judge.
@pytest.mark.parametrize(('method', 'count'), [('ring', 5), ('fixed', 2), ('finetune', 2)])
def test_seeds_together_are_the_seeds_one_by_one(method, count):
    lag = LAG if method == 'ring' else 0
    stepper = Stepper(
        make_step(method, seeds),
        seeds.make_qcrd_chunk(*ARGUMENTS['ring']) if lag else None,
        seeds.StackedBatches([Batches(seed) for seed in range(SEEDS)]),
        jnp.stack(KEYS),
        lag=lag,
        fixed_generator=seeds.stack_trees([params for params, _ in INITIAL]),
    )
    together = seeds.stack([start(method, seed) for seed in range(SEEDS)])
    step, losses = 0, []
    while step < count:
        together, step, metrics = stepper.advance(together, step, count)
        losses.extend(np.asarray(metrics['loss'][0]).reshape(-1, SEEDS))
    assert int(together.state.step) == count

    single = steps.compile_step(make_step(method, steps), ring=lag > 0)
    for seed in range(SEEDS):
        expected, expected_losses = alone(method, seed, single, count)
        np.testing.assert_allclose(np.array(losses)[:, seed], expected_losses, rtol=1e-5)
        # Sums in another order, through up to five Adam steps of 1e-2.
        assert_trees_close(seeds.unstack(together, seed), expected, rtol=1e-3, atol=2e-5)
    assert abs(losses[0][0] - losses[0][1]) > 1e-3  # or one seed could stand for another


def test_what_is_stacked_comes_apart_again():
    runs = [start('ring', seed) for seed in range(SEEDS)]
    stacked = seeds.stack(runs)
    for seed, single in enumerate(runs):
        assert_trees_close(seeds.unstack(stacked, seed), single, rtol=0, atol=0)


def test_an_update_that_is_not_due_is_not_computed():
    # `lax.cond` on a stacked predicate would become both branches; the step is one for all seeds.
    step = make_step('ring', seeds)
    progress = seeds.stack([start('ring', seed) for seed in range(SEEDS)])
    batches = seeds.StackedBatches([Batches(seed) for seed in range(SEEDS)])[0]
    generators = seeds.stack_trees([params for params, _ in INITIAL])
    jaxpr = jax.make_jaxpr(step)(progress.state, generators, batches, jnp.stack(KEYS))
    assert any(equation.primitive.name == 'cond' for equation in jaxpr.eqns)
