"""Several seeds in one program give the numbers of one run after another."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_steps import (
    JUDGE,
    RATE,
    SAMPLING,
    STUDENT,
    assert_trees_close,
    make_batch,
    make_state,
)

from qcrd_jax import optimizers, seeds, steps
from qcrd_jax.ring import Ring
from qcrd_jax.stepping import Progress, Stepper

SEEDS, LAG = 3, 2
KEYS = [jax.random.key(seed) for seed in range(SEEDS)]


class Batches:
    """Another order of batches for every seed."""

    def __init__(self, seed):
        self.seed = seed

    def __getitem__(self, step):
        return make_batch(100 * self.seed + step)


def initial_of(seed):
    return (
        jax.jit(STUDENT.init)(jax.random.key(20 + seed)),
        jax.jit(JUDGE.init)(jax.random.key(40 + seed)),
    )


INITIAL = [initial_of(seed) for seed in range(SEEDS)]
OPTIMIZER = optimizers.adamw(RATE)
SHARED = steps.MutualInformation(variant='masked')
CONTRAST = steps.Contrast(update_every=3, margin=3.1)
QCRD = (STUDENT, OPTIMIZER, JUDGE, OPTIMIZER, CONTRAST, SAMPLING, SHARED)
NEVER = dataclasses.replace(CONTRAST, update_every=0)
WITHOUT_SAMPLING = (STUDENT, OPTIMIZER, None, None, NEVER, None)
FIXED = (STUDENT, OPTIMIZER, JUDGE, OPTIMIZER, CONTRAST, SAMPLING)


def programs(method, module):
    """(step, chunk) of a method, for one seed (`steps`) or for several (`seeds`)."""
    if method == 'ring':
        return module.make_qcrd_step(*QCRD), module.make_qcrd_chunk(*QCRD)
    if method == 'fixed':
        return module.make_qcrd_step(*FIXED), None
    if method == 'no negatives':
        return module.make_qcrd_step(*WITHOUT_SAMPLING), None
    step = {
        'finetune': steps.make_finetune_step(STUDENT, OPTIMIZER),
        'mi': steps.make_dss_step(STUDENT, OPTIMIZER, shared=SHARED),
    }[method]
    return (seeds.over_seeds(step) if module is seeds else step), None


def start(method, seed):
    judged = method in ('ring', 'fixed')
    state = make_state(INITIAL[seed], OPTIMIZER, OPTIMIZER if judged else None)
    ring = Ring.create(INITIAL[seed][0], LAG) if method == 'ring' else None
    return Progress(state, ring)


def run(stepper, progress, count):
    step, losses = 0, []
    while step < count:
        progress, step, metrics = stepper.advance(progress, step, count)
        losses.append(np.asarray(metrics['loss'][0]))
    return progress, losses


# Five steps: two chunks of the ring's length and a single step, and one update of the judge.
@pytest.mark.parametrize('method', ['ring', 'fixed', 'no negatives', 'finetune', 'mi'])
def test_seeds_together_are_the_seeds_one_by_one(method):
    count = 5 if method == 'ring' else 3
    lag = LAG if method == 'ring' else 0
    generators = [INITIAL[seed][0] if method == 'fixed' else None for seed in range(SEEDS)]
    step, chunk = programs(method, steps)
    alone = [
        run(
            Stepper(
                step, chunk, Batches(s), KEYS[s], lag=lag, fixed_generator=generators[s]
            ),
            start(method, s),
            count,
        )
        for s in range(SEEDS)
    ]  # fmt: skip
    step, chunk = programs(method, seeds)
    together, losses = run(
        Stepper(
            step,
            chunk,
            seeds.StackedBatches([Batches(s) for s in range(SEEDS)]),
            jnp.stack(KEYS),
            lag=lag,
            fixed_generator=seeds.stack_trees(generators),
        ),
        seeds.stack([start(method, s) for s in range(SEEDS)]),
        count,
    )
    assert int(together.state.step) == count
    for seed, (progress, expected) in enumerate(alone):
        # Sums in another order, through up to five Adam steps of 1e-2.
        ours = seeds.unstack(together, seed)
        assert_trees_close(ours, progress, rtol=1e-3, atol=2e-5)
        own = np.concatenate([np.atleast_1d(loss[..., seed]) for loss in losses])
        expected = np.concatenate([np.atleast_1d(loss) for loss in expected])
        np.testing.assert_allclose(own, expected, rtol=1e-5)
    apart = [np.asarray(progress.state.params['embedding']) for progress, _ in alone]
    assert np.abs(apart[0] - apart[1]).max() > 0.1  # or one seed could stand for another


def test_what_is_stacked_comes_apart_again():
    runs = [start('ring', seed) for seed in range(SEEDS)]
    stacked = seeds.stack(runs)
    for seed, single in enumerate(runs):
        assert_trees_close(seeds.unstack(stacked, seed), single, rtol=0, atol=0)


def test_an_update_that_is_not_due_is_not_computed():
    # `lax.cond` on a stacked predicate would become both branches; the step is one for all seeds.
    step, _ = programs('fixed', seeds)
    progress = seeds.stack([start('fixed', seed) for seed in range(SEEDS)])
    batches = seeds.StackedBatches([Batches(seed) for seed in range(SEEDS)])[0]
    generators = seeds.stack_trees([INITIAL[seed][0] for seed in range(SEEDS)])
    jaxpr = jax.make_jaxpr(step)(progress.state, generators, batches, jnp.stack(KEYS))
    assert any(equation.primitive.name == 'cond' for equation in jaxpr.eqns)
