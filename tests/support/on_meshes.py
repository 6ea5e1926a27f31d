"""What needs eight devices; `tests/test_placement.py` runs this file where they are simulated.

With QCRD_ALL_MESHES=1 every method and student is tried on every mesh, not only QCRD's T5 on one.
"""

import dataclasses
import functools
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import program
from qcrd_jax import grid, modes
from qcrd_jax.data.lengths import Lengths
from qcrd_jax.evaluation import decoding, scoring
from qcrd_jax.methods import compiled, optimizers, placed, programs
from qcrd_jax.methods.dss import Dss, Finetune
from qcrd_jax.methods.objectives import Contrast
from qcrd_jax.methods.programs import Progress
from qcrd_jax.methods.qcrd import Qcrd
from qcrd_jax.methods.rationales import NegativeSampling
from qcrd_jax.methods.state import DiscriminatorState, TrainState
from qcrd_jax.models import DecoderStudent, Discriminator, LoraStudent, T5Student
from qcrd_jax.placement import Placement, one_device
from qcrd_jax.runs import loop
from tests.support import small, toys
from tests.support.runs import assert_same_run
from tests.support.small_grid import folders_of_runs, small_grid
from tests.support.toy_student import use_toy_students

assert jax.device_count() == 8, 'run by tests/test_placement.py'

MESHES = {'8x1': (8, 1), '1x8': (1, 8), '2x4': (2, 4)}
KEY = jax.random.key(3)
STEPS, LAG = 4, 2
SHAPE = Lengths(source=7, label=4, rationale=6, positives=2, negatives=2)
# Widths that eight devices divide.
SIZES = {'d_model': 16, 'd_kv': 8, 'd_ff': 24, 'vocab_size': 32}
STUDENTS = {
    't5': T5Student(small.t5(num_heads=2, encoder_layers=2, decoder_layers=1, **SIZES)),
    'decoder': DecoderStudent(small.decoder('qwen3', num_heads=4, num_layers=1, **SIZES)),
}
TRAINED = {**STUDENTS, 'adapters': LoraStudent(STUDENTS['decoder'], rank=8)}
SAMPLING = NegativeSampling(count=2, max_length=6, temperature=1.5, lag=LAG)
CONTRAST = Contrast(update_every=3, margin=3.5)


def on_mesh(name):
    return dataclasses.replace(Placement.of(*MESHES[name]), smallest=100)


def make_method(name, student, **sampling):
    optimizer = optimizers.adamw(1e-3)
    if name == 'finetune':
        return Finetune(student, optimizer)
    if name == 'dss':
        return Dss(student, optimizer)
    how = dataclasses.replace(SAMPLING, **sampling)
    discriminator = Discriminator(student.encoder)
    return Qcrd(student, optimizer, CONTRAST, how, discriminator, optimizer)


def make_batch(seed, questions=8):
    rng = np.random.default_rng(seed)

    def sequences(*shape):
        ids = rng.integers(3, 32, shape)
        lengths = rng.integers(2, shape[-1] + 1, shape[:-1])[..., None]
        places = np.arange(shape[-1])
        ids = np.where(places == lengths - 1, 1, ids)
        return np.where(places < lengths, ids, 0).astype(np.int32)

    s, batch = SHAPE, {}
    for name in ('predict', 'explain', 'question'):
        batch[f'{name}_ids'] = sequences(questions, s.source)
    batch['label_ids'] = sequences(questions, s.label)
    for name, slots in (('positive', s.positives), ('negative', s.negatives)):
        mask = rng.random((questions, slots)) < 0.7
        batch[f'{name}_ids'] = sequences(questions, slots, s.rationale) * mask[..., None]
        batch[f'{name}_mask'] = mask
    batch['example_mask'] = np.arange(questions) != 2
    batch['rationale_limit'] = np.full(questions, s.rationale, np.int32)
    return batch


class Batches:
    largest = SHAPE

    def __getitem__(self, step):
        return make_batch(step)

    fitted = __getitem__


def beginning(method, placement, key=KEY):
    student = method.student
    learner = getattr(method, 'discriminator', None)

    def make(key):
        theta = student.init(key)
        discriminator = None
        if learner is not None:
            discriminator = DiscriminatorState.create(
                learner.init(key), method.discriminator_optimizer
            )
        state = TrainState.create(theta, method.optimizer, discriminator)
        return Progress(state, programs.ring_of(method, jax.tree.map(jnp.copy, theta)))

    return placement.made(jax.jit(make), functools.partial(placed.layout, placement), key)


def fixed_of(method, placement):
    """What steps read beside the progress: frozen weights, of a student with adapters."""
    if not isinstance(method.student, LoraStudent):
        return programs.Fixed()
    return programs.Fixed(
        base=placement.made(method.student.student.init, placement.frozen, jax.random.key(5))
    )


def taken(method, placement, steps=STEPS):
    """The progress after some steps, chunks where they are, and the loss of every step."""
    made, fixed = compiled.programs_of(method, placement), fixed_of(method, placement)
    progress, step, losses = beginning(method, placement), 0, []
    while step < steps:
        progress, step, metrics = made.advance(progress, Batches(), KEY, step, steps, fixed)
        losses.extend(np.atleast_1d(metrics['loss'][0]).tolist())
    return progress, losses


@functools.cache
def of_one_device(name, student):
    return taken(make_method(name, TRAINED[student]), one_device())


def assert_as_planned(placement, progress):
    wanted = placed.layout(placement, progress)
    for (path, leaf), sharding in zip(
        jax.tree.leaves_with_path(progress), jax.tree.leaves(wanted), strict=True
    ):
        name = jax.tree_util.keystr(path)
        assert leaf.sharding.is_equivalent_to(sharding, leaf.ndim), (name, leaf.sharding, sharding)
    return wanted


ALL = os.environ.get('QCRD_ALL_MESHES') == '1'
CASES = [
    (name, student, mesh)
    for name, student in (
        ('qcrd', 't5'),
        ('qcrd', 'decoder'),
        ('qcrd', 'adapters'),
        ('dss', 't5'),
        ('finetune', 't5'),
    )
    for mesh in MESHES
    if ALL or (name, student, mesh) == ('qcrd', 't5', '2x4')
]
DRAWN = [
    (mesh, lag, few)
    for mesh in MESHES
    for lag, few in ((3, 64), (3, 0), (8, 64))
    if ALL or (mesh, lag, few) == ('2x4', 3, 64)
]


@pytest.mark.parametrize(('name', 'student', 'mesh'), CASES)
def test_steps_on_a_mesh_are_those_of_one_device(name, student, mesh):
    expected, losses = of_one_device(name, student)
    placement = on_mesh(mesh)
    progress, found = taken(make_method(name, TRAINED[student]), placement)
    np.testing.assert_allclose(found, losses, rtol=1e-5)
    for (path, leaf), want in zip(
        jax.tree.leaves_with_path(progress), jax.tree.leaves(expected), strict=True
    ):
        np.testing.assert_allclose(leaf, want, atol=1e-5, err_msg=jax.tree_util.keystr(path))
    wanted = assert_as_planned(placement, progress)
    split = [s for s in jax.tree.leaves(wanted.state.params) if s.spec]
    assert bool(split) == (MESHES[mesh][1] > 1)


@pytest.mark.parametrize(('mesh', 'lag', 'few'), DRAWN)
def test_what_is_drawn_depends_on_no_mesh(mesh, lag, few, monkeypatch):
    monkeypatch.setattr(placed, '_FEW', few)  # 0: never spread over generators
    method = make_method('qcrd', STUDENTS['t5'], lag=lag)
    batches = [make_batch(step) for step in range(lag)]
    questions = programs.questions_of(batches, SHAPE, 0)

    def drawn(placement):
        progress = beginning(method, placement)
        # Past parameters that differ.
        slots = jax.tree.map(
            lambda leaf: leaf * (1 + jnp.arange(lag).reshape(-1, *[1] * (leaf.ndim - 1)) / 10),
            progress.ring.slots,
        )
        progress = progress._replace(ring=dataclasses.replace(progress.ring, slots=slots))
        ready = compiled.Prepared((), questions)
        made = compiled.programs_of(method, placement)
        ahead = made.apart.sample_ahead(progress, made.placed(ready).questions, KEY)
        now = made.apart.sample_now(progress, batches[0], KEY)
        return ahead.ids, now.ids

    ahead, now = drawn(one_device())
    compiled._programs_of.cache_clear()
    spread = drawn(on_mesh(mesh))
    np.testing.assert_array_equal(spread[0], ahead)
    np.testing.assert_array_equal(spread[1], now)
    assert len(np.unique(np.asarray(ahead).reshape(lag, -1), axis=0)) == lag


@pytest.mark.parametrize('mesh', MESHES if ALL else ['2x4'])
def test_the_loop_over_tokens_holds_one_collective(mesh):
    method, placement = make_method('qcrd', STUDENTS['t5'], lag=8), on_mesh(mesh)
    made = compiled.programs_of(method, placement)
    progress = jax.eval_shape(lambda: beginning(method, one_device()))
    where = placed.layout(placement, progress)
    progress = jax.tree.map(
        lambda leaf, s: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=s), progress, where
    )
    questions = programs.questions_of([make_batch(0)] * 8, SHAPE, 0)
    questions = made.placed(compiled.Prepared((), questions)).questions
    text = made.apart.sample_ahead.lower(progress, questions, KEY).compile().as_text()
    once, more = (program.collectives(text, turns) for turns in (1, 1001))
    per_turn = {kind: (more[kind]['count'] - value['count']) / 1000 for kind, value in once.items()}
    # One bit; where generators are on one axis and questions on the other, in two stages.
    stages = 2 if mesh == '2x4' else 1
    assert {kind: count for kind, count in per_turn.items() if count} == {'all-reduce': stages}


@pytest.mark.parametrize('mesh', MESHES if ALL else ['2x4'])
def test_no_question_changes_places(mesh):
    placement = on_mesh(mesh)
    for name in ('dss', 'qcrd') if ALL else ('qcrd',):
        method = make_method(name, STUDENTS['t5'])
        made = compiled.programs_of(method, placement)
        progress = beginning(method, placement)
        ready = made.placed(compiled.Prepared((make_batch(0),)))
        text = '\n'.join(
            each.as_text()
            for each in made.all(progress, ready.batches[0], KEY, largest=SHAPE, steps=1)
        )
        assert 'all-to-all' not in text
        assert 'all-reduce' in text


def test_parts_of_a_batch_are_cut_where_they_lie():
    placement = on_mesh('8x1')
    method = dataclasses.replace(make_method('dss', STUDENTS['t5']), parts=2)
    made = compiled.programs_of(method, placement)
    progress = beginning(method, placement)
    ready = made.placed(compiled.Prepared((make_batch(0, questions=16),)))
    (step,) = made.all(progress, ready.batches[0], KEY, largest=SHAPE, steps=1)
    # Only gradients and metrics are summed: no question, and no number of one, is handed on.
    assert set(program.collectives(step.as_text())) == {'all-reduce'}


@pytest.mark.parametrize('mesh', MESHES if ALL else ['2x4'])
@pytest.mark.parametrize('student', STUDENTS if ALL else ['t5'])
def test_answers_and_scores_depend_on_no_mesh(student, mesh):
    model, placement = STUDENTS[student], on_mesh(mesh)
    params = jax.tree.map(np.asarray, jax.jit(model.init)(KEY))
    prompts = np.concatenate([make_batch(seed)['explain_ids'] for seed in range(3)])[:21]
    asked = decoding.Asked(prompts, np.arange(21), KEY, 0.7)

    def answered(place):
        there = place.placed(params, place.parameters(params))
        cast = decoding.cast_params(model, there, place)
        return decoding.decode(model, there, cast, asked, 9, place)

    np.testing.assert_array_equal(answered(placement), answered(one_device()))
    discriminator = Discriminator(model.encoder)
    scorer = jax.tree.map(np.asarray, jax.jit(discriminator.init)(KEY))

    def scored(place):
        there = place.placed(scorer, place.parameters(scorer))
        batch = make_batch(7)
        ids = batch['question_ids'], batch['positive_ids']
        return scoring.score(discriminator, there, *ids, None, place)

    np.testing.assert_allclose(scored(placement), scored(one_device()), atol=1e-6)


def test_a_grid_of_three_seeds_on_three_devices_and_one_more_alone(tmp_path, monkeypatch, caplog):
    use_toy_students(monkeypatch)
    trained, train = [], loop.train

    def noted(runs):
        reached = train(runs)
        params = [jax.tree.leaves(each.progress.state.params)[0] for each in reached]
        trained.append([device.id for leaf in params for device in leaf.devices()])
        return reached

    def reproduce(workdir, seeds):
        cells = grid.cells({'A': {'method': 'qcrd'}}, {'mwp': {}})
        config = small_grid(baseline='', seeds=seeds, cells=cells, keep='everything')
        modes.run('reproduce', config, workdir)

    monkeypatch.setattr(loop, 'train', noted)
    reproduce(tmp_path / 'together', (0, 1, 2))
    # A batch of 4 does not divide over 8 devices: a seed by itself has one.
    reproduce(tmp_path / 'alone', (1,))
    assert trained == [[0, 1, 2], [0]]
    assert '4 questions do not divide over the 8 devices' in caplog.text
    (together,), (alone,) = (folders_of_runs(tmp_path / name) for name in ('together', 'alone'))
    assert_same_run(together / 'seed1', alone / 'seed1')
    lines = (together / 'seed1' / 'predictions.jsonl').read_text()
    assert lines == (alone / 'seed1' / 'predictions.jsonl').read_text()
    assert all((together / f'seed{seed}' / 'summary.json').exists() for seed in range(3))


@pytest.mark.everywhere
def test_seeds_on_devices_of_their_own_say_nothing_to_each_other():
    method, count, base = make_method('qcrd', STUDENTS['t5']), 4, Placement.of(8, 1)
    places = [base.of_seed(place, count) for place in range(count)]
    together = Placement.of_seeds(places)
    assert together.mesh.size == 4 and len({place.mesh for place in places}) == 4
    keys = [jax.random.key(seed) for seed in range(count)]
    begun = [
        jax.device_put(beginning(method, one_device(), key), place.mesh.devices.flat[0])
        for key, place in zip(keys, places, strict=True)
    ]
    singles = []
    for single, key in zip(begun, keys, strict=True):
        # All of them on one device, where they are one program.
        progress = jax.tree.map(jnp.copy, jax.device_put(single, jax.devices()[0]))
        made = compiled.programs_of(method)
        for step in range(0, STEPS, LAG):
            progress, _, _ = made.advance(progress, Batches(), key, step, STEPS)
        singles.append(jax.device_get(progress))
    made = compiled.programs_of(programs.over_seeds(method), together)
    progress = programs.stack(begun, together)
    batches = programs.StackedBatches([Batches()] * count)
    for step in range(0, STEPS, LAG):
        progress, _, _ = made.advance(progress, batches, jnp.stack(keys), step, STEPS)
    for place, single in enumerate(singles):
        apart = programs.unstack(progress, place, together)
        assert apart.state.params['embedding'].devices() == set(places[place].mesh.devices.flat)
        toys.assert_trees_close(jax.device_get(apart), single, atol=1e-5)
    ready = made.placed(made.prepared(batches, 0, LAG))
    asked = progress, ready.batches[0], jnp.stack(keys)
    for each in made.all(*asked, largest=SHAPE, steps=LAG):
        # One bit: whether all have ended a sample; whether any has its discriminator's update due.
        assert program.collectives(each.as_text()) == {'all-reduce': {'count': 1, 'bytes': 1}}
