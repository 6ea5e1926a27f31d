"""QCRD against the same written plainly: un-jitted, one rationale at a time, from the paper."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from qcrd_jax import losses
from qcrd_jax.methods import optimizers, programs, rationales
from qcrd_jax.methods.dss import Dss
from qcrd_jax.methods.negatives import sample_negatives
from qcrd_jax.methods.objectives import (
    Choice,
    Contrast,
    MutualInformation,
    contrast_rationales,
    select_rationales,
)
from qcrd_jax.methods.qcrd import Qcrd
from qcrd_jax.models import T5Encoder, T5Student
from qcrd_jax.models.discriminator import Discriminator, join
from qcrd_jax.ring import Ring
from tests.support import toys
from tests.support.toys import (
    CONFIG,
    DISCRIMINATOR,
    KEY,
    RATE,
    SAMPLING,
    STILL,
    STUDENT,
    B,
    K,
    L,
    M,
    S,
    T,
    assert_trees_close,
    make_batch,
    make_state,
    on_device,
    stepped,
)


@pytest.fixture(scope='module')
def initial():
    return toys.make_initial()


def metrics_of(method, state, batch):
    """Those of one step that samples nothing."""
    return stepped(method)(state, None, batch, KEY)[1]


def plain_adamw(params, gradient, clip):
    """The first AdamW step, without weight decay, in float64."""
    leaves = [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(gradient)]
    norm = np.sqrt(sum((leaf**2).sum() for leaf in leaves))
    scale = min(1.0, clip / norm)

    def update(leaf, grad):
        grad = np.asarray(grad, np.float64) * scale
        first, second = 0.1 * grad / (1 - 0.9), 0.001 * grad**2 / (1 - 0.999)
        return np.asarray(leaf, np.float64) - RATE * first / (np.sqrt(second) + 1e-8)

    return jax.tree.map(update, params, gradient), norm


def plain_cross_entropies(params, context, groups, key):
    """l(x, r) by question and rationale (ids, length), token by token from the logits."""
    width = max(len(group) for group in groups)
    targets = np.zeros((B, width, T), np.int32)
    for i, group in enumerate(groups):
        for j, (ids, _) in enumerate(group):
            targets[i, j] = ids
    log_probs = jax.nn.log_softmax(STUDENT.decode(params, context, jnp.asarray(targets), key))
    return [
        [
            -log_probs[i, j, np.arange(length), ids[:length]].sum() / length
            for j, (ids, length) in enumerate(group)
        ]
        for i, group in enumerate(groups)
    ]


def plain_score(params, question, rationale):
    tokens = [t for t in question if t not in (0, 1)] + [t for t in rationale if t != 0]
    ids = jnp.asarray([*tokens, *[0] * (S + T - len(tokens))], jnp.int32)[None, None]
    return DISCRIMINATOR.scores(params, ids, ids != 0)[0, 0]


def plain_contexts(params, batch, key):
    both = jnp.stack([batch['predict_ids'], batch['explain_ids']], axis=1)
    context = STUDENT.encode(params, both, both != 0, key)
    return [jax.tree.map(lambda leaf, i=i: leaf[:, i], context) for i in (0, 1)]


def plain_qcrd_loss(params, present, discriminator, batch, negatives, contrast, key):
    """Eqs. 1, 3, 6, 7 and 8 with loops over questions and rationales.

    `present` has the values of `params`, which are being differentiated: min and max are taken by
    value.
    """
    _, student_key, _ = jax.random.split(jax.random.fold_in(key, 0), 3)
    encode_key, label_key, rationale_key, _ = jax.random.split(student_key, 4)
    predict, explain = plain_contexts(params, batch, encode_key)
    _, present_explain = plain_contexts(present, batch, encode_key)
    logits = STUDENT.decode(params, predict, jnp.asarray(batch['label_ids'])[:, None], label_key)
    tokens = [
        -jax.nn.log_softmax(logits[i, 0, t])[batch['label_ids'][i, t]]
        for i in range(B)
        for t in range(L)
        if batch['label_ids'][i, t] != 0
    ]
    prediction = sum(tokens) / len(tokens)

    positives = [
        [(ids, np.sum(ids != 0)) for ids in batch['positive_ids'][i][batch['positive_mask'][i]]]
        for i in range(B)
    ]
    lengths = np.sum(negatives.token_mask, axis=-1)  # a sample may hold the pad token
    sampled = [list(zip(np.asarray(negatives.ids)[i], lengths[i], strict=True)) for i in range(B)]
    groups = [pos + neg for pos, neg in zip(positives, sampled, strict=True)]
    entropies = plain_cross_entropies(params, explain, groups, rationale_key)
    values = plain_cross_entropies(present, present_explain, groups, rationale_key)
    per_question = []
    for i, group in enumerate(groups):
        count, value = len(positives[i]), [float(v) for v in values[i]]

        def score(j, i=i, group=group):
            return plain_score(discriminator, batch['question_ids'][i], group[j][0])

        total = 0.0
        if count:
            j = min(range(count), key=value.__getitem__)
            total += score(j) * entropies[i][j]
        j = max(range(count, len(group)), key=value.__getitem__)
        hard = jnp.minimum(entropies[i][j] - contrast.margin, 0.0)
        per_question.append(total - contrast.beta * (1 - score(j)) * hard)
    contrastive = sum(per_question) / B
    return contrast.alpha_pred * prediction + contrast.alpha_cl * contrastive, contrastive


def plain_discriminator_loss(params, batch, negatives, key):
    """Eq. 2 over the questions that have both kinds; the teacher's negatives count too."""
    ids = np.concatenate(
        [batch['positive_ids'], np.asarray(negatives.ids), batch['negative_ids']], axis=1
    )
    mask = np.concatenate(
        [batch['positive_mask'], np.ones((B, 2), bool), batch['negative_mask']], axis=1
    )
    joined = join(jnp.asarray(batch['question_ids']), jnp.asarray(ids), pad_id=0, eos_id=1)
    exps = jnp.exp(DISCRIMINATOR.scores(params, *joined, key))
    values = [
        -jnp.log(exps[i, :M][mask[i, :M]].sum() / exps[i, M:][mask[i, M:]].sum())
        for i in range(B)
        if mask[i, :M].any()
    ]
    return sum(values) / len(values)


def test_one_qcrd_step_is_the_paper_written_plainly(initial):
    # Dropout is on: the plain step draws the same masks, for they do not depend on how many
    # rationales are decoded at once. The margin leaves some negatives active and some inert.
    contrast = Contrast(margin=3.1, update_every=1)
    optimizer = discriminator_optimizer = optimizers.adamw(RATE, clip_norm=0.5)
    method = Qcrd(STUDENT, optimizer, contrast, SAMPLING, DISCRIMINATOR, discriminator_optimizer)
    batch = make_batch()
    generator = jax.tree.map(lambda leaf: leaf * 1.1, initial[0])
    progress = programs.Progress(
        make_state(initial, optimizer, discriminator_optimizer), Ring.create(generator, 2)
    )
    (state, _), metrics = jax.jit(programs.take_step, static_argnums=0)(
        method, progress, batch, KEY
    )

    student, discriminator = initial
    sampling_key, _, discriminator_key = jax.random.split(jax.random.fold_in(KEY, 0), 3)
    negatives = sample_negatives(STUDENT, generator, on_device(batch), sampling_key, SAMPLING)
    (loss, contrastive), gradient = jax.value_and_grad(plain_qcrd_loss, has_aux=True)(
        student, student, discriminator, batch, negatives, contrast, KEY
    )
    params, norm = plain_adamw(student, gradient, 0.5)
    mean = {name: float(total / count) for name, (total, count) in metrics.items()}
    assert 0 < mean['negative_active'] < 1
    np.testing.assert_allclose(mean['loss'], loss, rtol=1e-5)
    np.testing.assert_allclose(mean['contrastive_loss'], contrastive, rtol=1e-5)
    np.testing.assert_allclose(mean['gradient_norm'], norm, rtol=1e-4)
    # Adam divides by the gradient's own size: where that is ~0, float32 decides the sign.
    large = jax.tree.map(lambda g: np.abs(np.asarray(g)) > 1e-5, gradient)
    assert_trees_close(
        jax.tree.map(np.where, large, state.params, params), params, rtol=0, atol=RATE * 1e-2
    )

    discriminator_loss, discriminator_gradient = jax.value_and_grad(
        lambda params: 0.5 * plain_discriminator_loss(params, batch, negatives, discriminator_key)
    )(discriminator)
    np.testing.assert_allclose(mean['discriminator_loss'], discriminator_loss / 0.5, rtol=1e-5)
    discriminator_params, _ = plain_adamw(discriminator, discriminator_gradient, 0.5)
    large = jax.tree.map(lambda g: np.abs(np.asarray(g)) > 1e-5, discriminator_gradient)
    updated = state.discriminator.params
    assert_trees_close(
        jax.tree.map(np.where, large, updated, discriminator_params),
        discriminator_params,
        rtol=0,
        atol=RATE * 1e-2,
    )
    assert int(state.discriminator.updates) == 1


@pytest.mark.parametrize('scheme', losses.SCHEMES)
def test_selecting_first_leaves_the_gradient_as_it_is(initial, scheme):
    # Two passes, selected rationales only in the second, against one pass over all of them.
    batch = make_batch()
    contrast = Contrast(scheme=scheme, margin=3.5)
    positives = rationales.teacher_positives(on_device(batch), 0)
    negatives = rationales.teacher_negatives(on_device(batch), 0)
    explain = jnp.asarray(batch['explain_ids'])
    encode_key, decode_key, draw_key = jax.random.split(KEY, 3)
    scores = jax.random.uniform(jax.random.key(1), (B, M + K))
    by_ids = {bytes(np.asarray(r)): s for row, s_row in zip(
        np.concatenate([batch['positive_ids'], batch['negative_ids']], 1), scores, strict=True)
        for r, s in zip(row, s_row, strict=True)}  # fmt: skip

    def score(ids):
        return jnp.stack([jnp.stack([by_ids[bytes(np.asarray(r))] for r in row]) for row in ids])

    def decode(params, group):
        context = STUDENT.encode(params, explain, explain != 0, encode_key)
        return STUDENT.decode(params, context, group.ids, decode_key)

    def entropies(params, group):
        logits = decode(params, group)
        return losses.sequence_cross_entropy(logits, jnp.asarray(group.ids), group.token_mask)

    def two_passes(params):
        choice = Choice.of(draw_key, positives, negatives, scheme)
        groups = select_rationales(
            lambda group: entropies(initial[0], group), positives, negatives, contrast, choice, 0
        )
        both = rationales.concatenate(*groups[:2], pad_id=0)
        total, _ = contrast_rationales(
            entropies(params, both), score(both.ids), *groups[:2], contrast, groups[2]
        )
        return total.sum()

    def one_pass(params):
        values = entropies(params, rationales.concatenate(positives, negatives, pad_id=0))
        keys = jax.random.split(draw_key)
        return losses.contrastive_loss(
            values[:, :M],
            values[:, M:],
            scores[:, :M],
            scores[:, M:],
            positives.mask,
            negatives.mask,
            margin=contrast.margin,
            scheme=scheme,
            positive_draws=jax.random.uniform(keys[0], (B, M)),
            negative_draws=jax.random.uniform(keys[1], (B, K)),
        ).total.sum()

    # Scores are looked up by a rationale's tokens, which needs values, not tracers.
    expected, expected_gradient = jax.value_and_grad(one_pass)(initial[0])
    actual, gradient = jax.value_and_grad(two_passes)(initial[0])
    np.testing.assert_allclose(actual, expected, rtol=1e-5)
    assert_trees_close(gradient, expected_gradient, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize('scheme', losses.SELECTING_SCHEMES)
def test_with_one_rationale_of_each_kind_there_is_nothing_to_select(scheme):
    # 0.5 * 2 - 0.2 * (1 - 0.25) * (1 - 3), whatever the scheme.
    batch = on_device(make_batch())
    one = rationales.Rationales(
        batch['positive_ids'][:1, :1], batch['positive_ids'][:1, :1] != 0, jnp.ones((1, 1), bool)
    )

    contrast = Contrast(scheme=scheme)
    groups = select_rationales(pytest.fail, one, one, contrast, Choice(), 0)
    values, scores = jnp.array([[2.0, 1.0]]), jnp.array([[0.5, 0.25]])
    total, _ = contrast_rationales(values, scores, *groups[:2], contrast, groups[2])
    np.testing.assert_allclose(total, [1.3], rtol=1e-6)


@pytest.mark.parametrize(('positives', 'negatives'), [(1, 3), (3, 1), (3, 3)])
def test_only_kinds_of_several_are_decoded_to_select(positives, negatives):
    # Positives are told by their value, and so are negatives; 1.0 is least and 2.9 is most of both.
    values = {'positive': [2.0, 1.0, 2.5], 'negative': [1.0, 2.9, 0.5]}

    def group(kind, count):
        ids = jnp.array([[[round(10 * value)] for value in values[kind][:count]]])
        return rationales.Rationales(ids, ids != 0, jnp.ones((1, count), bool))

    def decode(asked):
        counts = [count for count in (positives, negatives) if count > 1]
        assert asked.ids.shape[1] == sum(counts)
        return asked.ids[..., 0] / 10

    groups = group('positive', positives), group('negative', negatives)
    chosen = select_rationales(decode, *groups, Contrast(margin=3.0), Choice(), 0)
    expected = 20 if positives == 1 else 10, 10 if negatives == 1 else 29
    assert tuple(each.ids.item() for each in chosen[:2]) == expected


def test_alpha_decays_once_per_update_of_the_discriminator(initial):
    # SGD in the place of AdamW: the size of a step is then alpha times the gradient.
    sgd = optax.sgd(1.0)
    contrast = Contrast(update_every=2, alpha_disc=0.5, alpha_disc_decay=0.1)
    config = dataclasses.replace(CONFIG, dropout_rate=0.0)
    small = Discriminator(T5Encoder(config))
    method = Qcrd(T5Student(config), optax.sgd(0.0), contrast, None, small, sgd)
    step = stepped(method)
    state = make_state(initial, optax.sgd(0.0), sgd)
    batch = make_batch()

    def gradient(params):
        ids = np.concatenate([batch['positive_ids'], batch['negative_ids']], axis=1)
        joined = join(jnp.asarray(batch['question_ids']), jnp.asarray(ids), pad_id=0, eos_id=1)
        scores = small.scores(params, *joined)
        terms = losses.discriminator_loss(
            scores[:, :M],
            scores[:, M:],
            jnp.asarray(batch['positive_mask']),
            jnp.asarray(batch['negative_mask']),
        )
        return losses.masked_mean(terms.loss, terms.valid)

    expected = initial[1]
    for t in range(4):
        if t % 2 == 1:
            alpha = 0.5 * 0.1 ** (t // 2)
            slope = jax.grad(gradient)(expected)
            expected = jax.tree.map(lambda p, g, a=alpha: p - a * g, expected, slope)
        state, _ = step(state, None, batch, KEY)
        assert_trees_close(state.discriminator.params, expected, rtol=1e-4, atol=1e-6)


def test_mi_with_qcrd_takes_the_selected_positive(initial):
    # Of the question's positives the easiest is learned; it is the one that MI's term is about.
    optimizer = optimizers.adamw(RATE)
    shared = MutualInformation(1.0, 'masked')
    method = Qcrd(STILL, optimizer, Contrast(), None)
    mi = Dss(STILL, optimizer, shared=shared)
    batch = make_batch()
    state = make_state(initial, optimizer)
    together = metrics_of(dataclasses.replace(method, shared=shared), state, batch)
    qcrd = metrics_of(method, state, batch)
    questions = jnp.asarray(batch['explain_ids'])
    explain = STILL.encode(initial[0], questions, questions != 0)
    logits = STILL.decode(initial[0], explain, jnp.asarray(batch['positive_ids']))
    entropies = losses.sequence_cross_entropy(
        logits, jnp.asarray(batch['positive_ids']), jnp.asarray(batch['positive_ids'] != 0)
    )
    easiest = np.argmin(np.where(batch['positive_mask'], entropies, np.inf), axis=1)
    chosen = batch['positive_ids'][np.arange(B), easiest][:, None]
    only = batch | {
        'positive_ids': chosen,
        'positive_mask': batch['positive_mask'].any(axis=1, keepdims=True),
    }
    expected = metrics_of(mi, state, only)['mutual_information_loss'][0]
    np.testing.assert_allclose(together['mutual_information_loss'][0], expected, rtol=1e-5)
    np.testing.assert_allclose(together['loss'][0] - qcrd['loss'][0], expected, rtol=1e-4)
