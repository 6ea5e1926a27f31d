"""Rivals on QCRD's pairs: a step against the formulas, the reference against the slot."""

import dataclasses
import typing

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qcrd_jax.config import base_config
from qcrd_jax.errors import InputError
from qcrd_jax.methods import METHODS, Parts, compiled, optimizers, programs
from qcrd_jax.methods.objectives import Choice, Contrast, decode_selected
from qcrd_jax.methods.preference import (
    REFERRING,
    Advantage,
    Preference,
    PreferenceLoss,
    PreferenceName,
    prefer,
)
from qcrd_jax.methods.programs import Progress
from qcrd_jax.methods.rationales import teacher_positives
from qcrd_jax.ring import Ring
from tests.methods.test_programs import Given, limited, shortened, stepped_by
from tests.support import toys
from tests.support.toys import (
    KEY,
    RATE,
    SAMPLING,
    STILL,
    STUDENT,
    B,
    assert_trees_close,
    make_batch,
    make_state,
    stepped,
)

NAMES = typing.get_args(PreferenceName)
OPTIMIZER = optimizers.adamw(RATE)
WEIGHTS = Contrast(alpha_pred=0.3, alpha_cl=0.7)


@pytest.fixture(scope='module')
def initial():
    return toys.make_initial()


@pytest.fixture(scope='module')
def opponent():
    return toys.make_initial(31)[0]


def make_method(name, student=STILL, **fields):
    negatives = dataclasses.replace(SAMPLING, count=1, reference=name in REFERRING)
    constants = {'weight': 0.8, 'beta': 0.3, 'gamma_ratio': 0.4, 'smoothing': 0.2, 'anchor': 0.6}
    loss = PreferenceLoss(name, **constants)
    return Preference(student, OPTIMIZER, loss, negatives, WEIGHTS, **fields)


@jax.jit
def _logits(params, question, ids):
    context = STILL.encode(params, question[None], question[None] != 0)
    return STILL.decode(params, context, ids[None, None])[0, 0]


def tokens_of(params, question, answer, mask=None):
    """log p of the tokens of one answer to one question, by plain decoding, in float64."""
    answer = np.asarray(answer)  # of samples 0 may be a token
    logits = np.asarray(_logits(params, jnp.asarray(question), jnp.asarray(answer)), np.float64)
    log_p = logits[np.arange(len(answer)), answer] - np.log(np.exp(logits).sum(-1))
    return log_p[answer != 0 if mask is None else np.asarray(mask)]


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def formula(name, good, bad, good_reference, bad_reference, z):
    """The loss of a pair from token log-probabilities; None stands for one that is not there."""
    likelihood = -good.mean() if good is not None else 0.0
    if name == 'redi':
        return likelihood + 0.8 * bad.mean()
    if name == 'unlikelihood':
        return likelihood + 0.8 * np.mean(-np.log(1 - np.exp(bad)))
    if name == 'kto':
        loss = 1 - sigmoid(0.3 * (z - bad.sum() + bad_reference.sum()))
        if good is not None:
            loss += 1 - sigmoid(0.3 * (good.sum() - good_reference.sum() - z))
        return 0.6 * likelihood + loss / 2
    if good is None:
        return 0.0
    if name == 'orpo':
        odds = [np.log(np.exp(x.mean()) / (1 - np.exp(x.mean()))) for x in (good, bad)]
        return likelihood - 0.8 * np.log(sigmoid(odds[0] - odds[1]))
    if name == 'simpo':
        return 0.6 * likelihood - np.log(sigmoid(0.3 * (good.mean() - bad.mean() - 0.4)))
    wide = 0.3 * (good.sum() - bad.sum() - good_reference.sum() + bad_reference.sum())
    smoothing = 0.2 if name == 'dpo' else 0.0
    pair = -(1 - smoothing) * np.log(sigmoid(wide)) - smoothing * np.log(sigmoid(-wide))
    return 0.6 * likelihood + pair


def by_formula(name, params, opponent, batch, written):
    """The loss of every question's pair."""
    others, values = [], []
    for i, question in enumerate(batch['explain_ids']):
        before = (i - 1) % B
        if batch['positive_mask'][before, 0]:
            answer = batch['positive_ids'][before, 0]
            own, theirs = (tokens_of(theta, question, answer).sum() for theta in (params, opponent))
            others.append(own - theirs)
    z = max(np.mean(others), 0.0)
    for i, question in enumerate(batch['explain_ids']):
        real = np.asarray(batch['positive_ids'][i])[batch['positive_mask'][i]]
        found = [tokens_of(params, question, ids) for ids in real]
        good, reference = None, None
        if found:
            easiest = int(np.argmin([-x.mean() for x in found]))
            good, reference = found[easiest], tokens_of(opponent, question, real[easiest])
        sample = written.ids[i, 0], written.token_mask[i, 0]
        bad, bad_reference = (tokens_of(theta, question, *sample) for theta in (params, opponent))
        values.append(formula(name, good, bad, reference, bad_reference, z))
    return np.array(values), z


@pytest.fixture(scope='module')
def selected(initial, opponent):
    """What a step learns from, decoded, with the log-probabilities of a reference."""
    params, batch, method = initial[0], make_batch(3), make_method('dpo')

    @jax.jit
    def select():
        on_device = jax.tree.map(jnp.asarray, batch)
        sampled = method.sample(opponent, on_device, KEY)
        positives = teacher_positives(on_device, 0)
        positives = dataclasses.replace(positives, reference=sampled.positives)
        choice = Choice.of(KEY, positives, sampled.negatives, 'min_max')
        given = positives, sampled.negatives, WEIGHTS, choice, [None] * 3
        found = decode_selected(STILL, params, on_device, *given)
        return sampled, found._replace(scheme=None)

    return batch, *select()


@pytest.mark.parametrize('name', NAMES)
def test_a_loss_of_pairs_is_the_formula_written_plainly(name, initial, opponent, selected):
    batch, sampled, pairs = selected
    expected, z = by_formula(name, initial[0], opponent, batch, sampled.negatives)
    values, metrics = prefer(pairs, make_method(name).loss, jnp.float32(z))
    np.testing.assert_allclose(values, expected, rtol=1e-5)
    assert metrics['preferred'][1] == batch['positive_mask'].any(axis=1).sum()


def test_a_step_is_the_label_and_the_pairs(initial, opponent):
    # KTO needs all there is: the reference of pairs, and that of other answers.
    params, batch, method = initial[0], make_batch(3), make_method('kto')
    sampled = jax.jit(method.sample)(opponent, batch, KEY)
    _, metrics = jax.jit(method.update)(make_state(initial, OPTIMIZER), batch, sampled, KEY)
    values, z = by_formula('kto', params, opponent, batch, sampled.negatives)
    assert z > 0
    read = zip(batch['predict_ids'], batch['label_ids'], strict=True)
    labels = np.concatenate([tokens_of(params, *each) for each in read])
    expected = 0.3 * -labels.mean() + 0.7 * values.mean()
    np.testing.assert_allclose(metrics['loss'][0], expected, rtol=1e-5)
    assert float(metrics['nonfinite'][0]) == 0 and float(metrics['gradient_norm'][0]) > 0


def test_the_reference_is_the_slot_that_was_sampled(initial, opponent):
    batch, method = make_batch(4), make_method('dpo')
    sampled = jax.jit(method.sample)(opponent, batch, KEY)
    for i in range(B):
        question = batch['explain_ids'][i]
        negatives = sampled.negatives
        own = tokens_of(opponent, question, negatives.ids[i, 0], negatives.token_mask[i, 0]).sum()
        np.testing.assert_allclose(sampled.negatives.reference[i, 0], own, rtol=1e-5)
        for j in np.flatnonzero(batch['positive_mask'][i]):
            teachers = tokens_of(opponent, question, batch['positive_ids'][i, j]).sum()
            np.testing.assert_allclose(sampled.positives[i, j], teachers, rtol=1e-5)


def test_spin_is_dpo_against_its_own_past(selected):
    *_, pairs = selected
    losses = [make_method(name).loss for name in ('spin', 'dpo')]
    values = [
        prefer(pairs, dataclasses.replace(loss, smoothing=0.0), jnp.float32(0))[0]
        for loss in losses
    ]
    np.testing.assert_array_equal(*values)


def test_a_chunk_is_so_many_single_steps(initial):
    method = make_method('kto', student=STUDENT)
    step, made = stepped_by(method), compiled.programs_of(method)
    batches = [limited(make_batch(t)) for t in range(4)]
    stream = Given([shortened(batch) for batch in batches])
    one, many, single, chunked, t = (
        *[Progress(make_state(initial, OPTIMIZER), Ring.create(initial[0], 2)) for _ in range(2)],
        [],
        [],
        0,
    )
    for batch in batches:
        one, metrics = step(one, batch, KEY)
        single.append(float(metrics['loss'][0]))
    while t < len(batches):
        many, t, metrics = made.advance(many, stream, KEY, t, len(batches))
        chunked.extend(np.atleast_1d(metrics['loss'][0]).tolist())
    np.testing.assert_allclose(chunked, single, rtol=1e-5)
    assert_trees_close(many, one, rtol=1e-4, atol=1e-6)


def test_seeds_and_parts_change_no_number(initial):
    batches = [make_batch(seed) for seed in range(2)]
    method = make_method('kto')
    several = programs.over_seeds(method)

    def begin(seed):
        state = make_state(toys.make_initial(40 + seed), OPTIMIZER)
        return Progress(state, Ring.create(state.params, 2))

    together = programs.stack([begin(seed) for seed in range(2)])
    keys = jnp.stack([jax.random.key(seed) for seed in range(2)])
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *batches)
    _, metrics = stepped_by(several)(together, stacked, keys)
    for seed in range(2):
        alone = dataclasses.replace(method, parts=1 + seed)
        _, own = stepped_by(alone)(begin(seed), batches[seed], keys[seed])
        np.testing.assert_allclose(metrics['loss'][0][seed], own['loss'][0], rtol=1e-5)


def test_advantages_weigh_all_that_the_teacher_wrote(initial):
    params, batch = initial[0], make_batch(6)
    method = Advantage(STILL, OPTIMIZER, alpha=0.4)
    _, metrics = stepped(method)(make_state(initial, OPTIMIZER), params, batch, KEY)
    labels, total = [], 0.0
    for i in range(B):
        question = batch['explain_ids'][i]
        labels.extend(tokens_of(params, batch['predict_ids'][i], batch['label_ids'][i]))
        values, rewards = [], []
        for kind, reward in (('positive', 1.0), ('negative', 0.0)):
            for j in np.flatnonzero(batch[f'{kind}_mask'][i]):
                values.append(-tokens_of(params, question, batch[f'{kind}_ids'][i, j]).mean())
                rewards.append(reward)
        if values:
            advantage = (np.array(rewards) - np.mean(rewards)) / (np.std(rewards) or 1)
            weights = np.exp(advantage) / np.exp(advantage).sum()
            total += weights @ np.array(values)
    expected = 0.4 * -np.mean(labels) + 0.6 * total / B
    np.testing.assert_allclose(metrics['loss'][0], expected, rtol=2e-5)


@pytest.mark.parametrize(
    ('overrides', 'message'),
    [
        ({'negatives.source': 'none'}, 'negatives.source=ring or fixed'),
        ({'negatives.count': 0}, 'negatives.count to 1'),
        ({'loss.scheme': 'mean'}, 'one pair a question; expected one of min_max'),
    ],
)
def test_what_has_no_pairs_is_refused(overrides, message):
    config = base_config()
    config.method = 'spin'
    config.update_from_flattened_dict(overrides)
    with pytest.raises(InputError, match=message):
        METHODS['spin'].build(config, Parts(STUDENT, OPTIMIZER, None, OPTIMIZER, 6))


def test_constants_come_from_the_fields_of_their_name():
    config = base_config()
    config.preference.dpo_beta = 0.7
    config.preference.anchor = 0.0
    for name in NAMES:
        config.method = name
        method = METHODS[name].build(config, Parts(STUDENT, OPTIMIZER, None, OPTIMIZER, 6))
        read = METHODS[name].reads(config)
        assert method.loss.name == name and method.negatives.reference == (name in REFERRING)
        assert ('preference.dpo_beta' in read) == (name == 'dpo')
        assert method.loss.beta == {'dpo': 0.7, 'simpo': 2.0}.get(name, 0.1)
        anchored = name in ('spin', 'dpo', 'simpo', 'kto')
        assert method.loss.anchor == (0.0 if anchored else 1.0)
        assert ('preference.anchor' in read) == anchored
