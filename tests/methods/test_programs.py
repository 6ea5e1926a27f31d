"""Chunks and several seeds give the numbers of single steps of one run after another."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qcrd_jax.data.lengths import Lengths
from qcrd_jax.methods import compiled, optimizers, programs
from qcrd_jax.methods.dss import Finetune
from qcrd_jax.methods.objectives import Contrast, MutualInformation
from qcrd_jax.methods.programs import Progress
from qcrd_jax.methods.qcrd import Qcrd
from qcrd_jax.ring import Ring
from tests.support import toys
from tests.support.toys import (
    DISCRIMINATOR,
    KEY,
    RATE,
    SAMPLING,
    STUDENT,
    K,
    L,
    M,
    S,
    T,
    assert_trees_close,
    make_batch,
    make_state,
)

SEEDS, LAG = 2, 2
LARGEST = Lengths(source=S, label=L, rationale=T, positives=M, negatives=K)
KEYS = [jax.random.key(seed) for seed in range(SEEDS)]
INITIAL = [toys.make_initial(20 + seed) for seed in range(SEEDS)]
OPTIMIZER = optimizers.adamw(RATE)
SHARED = MutualInformation(variant='masked')
CONTRAST = Contrast(update_every=3, margin=3.1)
METHODS = {
    'ring': Qcrd(STUDENT, OPTIMIZER, CONTRAST, SAMPLING, DISCRIMINATOR, OPTIMIZER, SHARED),
    'fixed': Qcrd(STUDENT, OPTIMIZER, CONTRAST, dataclasses.replace(SAMPLING, lag=0)),
    'finetune': Finetune(STUDENT, OPTIMIZER),
}


@pytest.fixture(scope='module')
def initial():
    return toys.make_initial()


def stepped_by(method):
    return jax.jit(functools.partial(programs.take_step, method), donate_argnums=0)


def limited(batch):
    """The batch with samples no longer than its positives."""
    longest = np.count_nonzero(batch['positive_ids'], axis=-1).max()
    return batch | {'rationale_limit': np.full(len(batch['positive_ids']), longest, np.int32)}


def shortened(batch):
    """The batch without the padding that all its positives have."""
    longest = batch['rationale_limit'][0]
    return batch | {'positive_ids': batch['positive_ids'][..., :longest]}


class Given:
    """Batches that are there."""

    def __init__(self, batches):
        self.batches = batches

    largest = LARGEST

    def __getitem__(self, step):
        return self.batches[step]

    fitted = __getitem__


def test_a_chunk_is_so_many_single_steps(initial):
    # The discriminator is updated within chunks, which do not begin with the first slot.
    lag, start = 3, 1
    optimizer = discriminator_optimizer = optimizers.adamw(RATE)
    contrast, sampling = Contrast(update_every=2), dataclasses.replace(SAMPLING, lag=lag)
    method = Qcrd(STUDENT, optimizer, contrast, sampling, DISCRIMINATOR, discriminator_optimizer)
    step, made = stepped_by(method), compiled.programs_of(method)
    batches = [limited(make_batch(t)) for t in range(start + 2 * lag)]
    cut = [shortened(batch) for batch in batches]
    assert len({batch['positive_ids'].shape for batch in cut}) > 1

    def beginning():
        state = make_state(initial, optimizer, discriminator_optimizer)
        return Progress(state, Ring.create(initial[0], lag))

    one, single = beginning(), []
    for batch in batches:
        one, metrics = step(one, batch, KEY)
        single.append(float(metrics['loss'][0]))
    many, chunked = beginning(), []
    t, stream = 0, Given(cut)
    while t < len(batches):  # a single step, then chunks of steps in shapes of their own
        many, t, metrics = made.advance(many, stream, KEY, t, start if t < start else len(batches))
        chunked.extend(np.atleast_1d(metrics['loss'][0]).tolist())
    # Sums over other shapes.
    np.testing.assert_allclose(chunked, single, rtol=1e-5)
    assert_trees_close(many, one, rtol=1e-4, atol=1e-6)


def test_a_generator_is_the_student_of_lag_steps_before(initial):
    # Through the compiled step with its donated buffers, on values.
    optimizer = optimizers.adamw(RATE)
    step = stepped_by(Qcrd(STUDENT, optimizer, Contrast(), SAMPLING))
    progress, history = Progress(make_state(initial, optimizer), Ring.create(initial[0], 2)), []
    for t in range(6):
        state, ring = progress
        history.append(np.asarray(state.params['embedding']).copy())
        np.testing.assert_array_equal(ring.generator(t)['embedding'], history[max(t - 2, 0)])
        progress, _ = step(progress, make_batch(t), KEY)
    assert np.abs(history[5] - history[4]).max() > 0


def test_a_step_is_traced_once(initial):
    traces = []
    optimizer = optimizers.adamw(RATE)

    class Counted(Qcrd):
        def update(self, *arguments):
            traces.append(1)
            return super().update(*arguments)

    step = stepped_by(Counted(STUDENT, optimizer, Contrast(), SAMPLING))
    progress = Progress(make_state(initial, optimizer), Ring.create(initial[0], 2))
    for t in range(5):
        progress, _ = step(progress, make_batch(t), KEY)
    assert len(traces) == 1


class Batches:
    """Another order of batches for every seed."""

    def __init__(self, seed):
        self.seed = seed

    def __getitem__(self, step):
        return make_batch(100 * self.seed + step)

    fitted, largest = __getitem__, LARGEST


def start(method, seed):
    state = make_state(INITIAL[seed], OPTIMIZER, OPTIMIZER if method == 'ring' else None)
    ring = Ring.create(INITIAL[seed][0], LAG) if method == 'ring' else None
    return Progress(state, ring)


def by_itself(method, seed, step, count):
    """One seed, step after step: its progress and its losses."""
    progress, losses, fixed = start(method, seed), [], programs.Fixed(INITIAL[seed][0])
    for t in range(count):
        progress, metrics = step(progress, Batches(seed)[t], KEYS[seed], fixed)
        losses.append(float(metrics['loss'][0]))
    return progress, losses


# With a ring, five steps: two chunks of its length, a single step, one update of the discriminator.
@pytest.mark.parametrize(('method', 'count'), [('ring', 5), ('fixed', 2), ('finetune', 2)])
def test_seeds_together_are_the_seeds_one_by_one(method, count):
    several = compiled.programs_of(programs.over_seeds(METHODS[method]))
    batches = programs.StackedBatches([Batches(seed) for seed in range(SEEDS)])
    fixed = programs.Fixed(programs.stack_trees([params for params, _ in INITIAL]))
    together = programs.stack([start(method, seed) for seed in range(SEEDS)])
    step, losses = 0, []
    while step < count:
        together, step, metrics = several.advance(
            together, batches, jnp.stack(KEYS), step, count, fixed
        )
        losses.extend(np.asarray(metrics['loss'][0]).reshape(-1, SEEDS))
    assert int(together.state.step) == count

    single = stepped_by(METHODS[method])
    for seed in range(SEEDS):
        expected, expected_losses = by_itself(method, seed, single, count)
        np.testing.assert_allclose(np.array(losses)[:, seed], expected_losses, rtol=1e-5)
        # Sums in another order, through up to five Adam steps of 1e-2.
        assert_trees_close(programs.unstack(together, seed), expected, rtol=1e-3, atol=2e-5)
    assert abs(losses[0][0] - losses[0][1]) > 1e-3  # or one seed could stand for another


def test_what_is_stacked_comes_apart_again():
    runs = [start('ring', seed) for seed in range(SEEDS)]
    together = programs.stack(runs)
    for seed, single in enumerate(runs):
        assert_trees_close(programs.unstack(together, seed), single, rtol=0, atol=0)


def test_a_program_is_new_once_for_every_shape():
    made = dataclasses.replace(compiled.programs_of(METHODS['ring']), seen=set())
    short, long = ({'ids': np.zeros((2, size))} for size in (3, 4))
    questions = {'ids': np.zeros((2, 2, 4))}
    asked = [
        compiled.Prepared((short,)),  # samples now, and learns
        compiled.Prepared((short, short), questions),  # samples ahead
        compiled.Prepared((short, long), questions),  # learns in another shape
        compiled.Prepared((long,)),  # samples now in that one
    ]
    assert [made.is_new(each) for each in asked + asked] == [True] * 4 + [False] * 4


def test_an_update_that_is_not_due_is_not_computed():
    # A choice by a stacked predicate would become both branches. It is a loop of one turn or none,
    # which carries the discriminator and its moments.
    step = functools.partial(programs.take_step, programs.over_seeds(METHODS['ring']))
    progress = programs.stack([start('ring', seed) for seed in range(SEEDS)])
    batches = programs.StackedBatches([Batches(seed) for seed in range(SEEDS)])[0]
    jaxpr = jax.make_jaxpr(step)(progress, batches, jnp.stack(KEYS))
    carried = {leaf.shape for leaf in jax.tree.leaves(progress.state.discriminator)}
    loops = [
        {variable.aval.shape for variable in equation.outvars}
        for equation in jaxpr.eqns
        if equation.primitive.name == 'while'
    ]
    assert sum(carried <= shapes for shapes in loops) == 1


def test_where_the_teachers_negatives_are_seldom_read_they_are_no_reason_for_a_longer_batch():
    often = dataclasses.replace(METHODS['ring'], contrast=Contrast(update_every=1))
    seldom = dataclasses.replace(often, contrast=Contrast(update_every=100))
    contrasted = dataclasses.replace(seldom, contrast=Contrast(teacher_negatives=True))
    unweighed = dataclasses.replace(often, discriminator=None)
    never = dataclasses.replace(often, contrast=Contrast(update_every=0))
    read = [programs.reads_negatives(each) for each in (often, contrasted, METHODS['ring'])]
    assert read == [True] * 3
    others = (seldom, unweighed, never, METHODS['fixed'], METHODS['finetune'])
    assert not any(map(programs.reads_negatives, others))
