"""Steps against the same written plainly: un-jitted, one rationale at a time, from the paper."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from qcrd_jax import losses
from qcrd_jax.methods import optimizers, rationales, steps
from qcrd_jax.methods.discriminator import (
    DiscriminatorState,
    joined_length,
    make_discriminator_step,
    score_rationales,
)
from qcrd_jax.methods.objectives import contrast_rationales
from qcrd_jax.models import T5Config, T5Encoder, T5Student
from qcrd_jax.models.discriminator import Discriminator, join
from qcrd_jax.ring import Ring

CONFIG = T5Config(
    vocab_size=23, d_model=16, d_kv=4, d_ff=24, num_heads=2, encoder_layers=1, decoder_layers=1
)
STUDENT, JUDGE = T5Student(CONFIG), Discriminator(T5Encoder(CONFIG))
STILL = T5Student(dataclasses.replace(CONFIG, dropout_rate=0.0))
B, S, L, T, M, K = 4, 7, 4, 6, 3, 2
RATE = 1e-2
SAMPLING = steps.NegativeSampling(count=2, max_length=T, temperature=1.5)
KEY = jax.random.key(11)


@pytest.fixture(scope='module')
def initial():
    student, judge = jax.jit(STUDENT.init)(KEY), jax.jit(JUDGE.init)(jax.random.key(12))
    return student, judge


def make_batch(seed=0):
    rng = np.random.default_rng(seed)

    def sequences(*shape):
        ids = rng.integers(3, CONFIG.vocab_size, shape)
        lengths = rng.integers(2, shape[-1] + 1, shape[:-1])[..., None]
        places = np.arange(shape[-1])
        ids = np.where(places == lengths - 1, 1, ids)
        return np.where(places < lengths, ids, 0).astype(np.int32)

    positive_mask = np.array([[1, 1, 1], [1, 0, 0], [0, 0, 0], [1, 1, 0]], bool)
    negative_mask = np.array([[1, 1], [0, 0], [1, 0], [0, 0]], bool)
    return {
        'predict_ids': sequences(B, S),
        'explain_ids': sequences(B, S),
        'question_ids': sequences(B, S),
        'label_ids': sequences(B, L),
        'positive_ids': sequences(B, M, T) * positive_mask[..., None],
        'positive_mask': positive_mask,
        'negative_ids': sequences(B, K, T) * negative_mask[..., None],
        'negative_mask': negative_mask,
        'example_mask': np.array([True, True, True, True]),
    }


def on_device(batch):
    return jax.tree.map(jnp.asarray, batch)


def make_state(initial, optimizer, judge_optimizer=None):
    student, judge = jax.tree.map(jnp.copy, initial)
    state = steps.TrainState.create(student, optimizer)
    if judge_optimizer is None:
        return state
    judge_state = DiscriminatorState(judge, judge_optimizer.init(judge), jnp.int32(0))
    return dataclasses.replace(state, discriminator=judge_state)


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


def assert_trees_close(actual, expected, **tolerance):
    paths = jax.tree.leaves_with_path(expected)
    for (path, want), got in zip(paths, jax.tree.leaves(actual), strict=True):
        np.testing.assert_allclose(got, want, err_msg=jax.tree_util.keystr(path), **tolerance)


def plain_cross_entropies(params, context, groups, key):
    """l(x, r) by question and rationale, token by token from the decoder's logits."""
    width = max(len(group) for group in groups)
    targets = np.zeros((B, width, T), np.int32)
    for i, group in enumerate(groups):
        targets[i, : len(group)] = group
    log_probs = jax.nn.log_softmax(STUDENT.decode(params, context, jnp.asarray(targets), key))
    return [
        [
            -sum(log_probs[i, j, t, ids[t]] for t in range(T) if ids[t] != 0) / np.sum(ids != 0)
            for j, ids in enumerate(group)
        ]
        for i, group in enumerate(groups)
    ]


def plain_judge_score(params, question, rationale):
    tokens = [t for t in question if t not in (0, 1)] + [t for t in rationale if t != 0]
    ids = jnp.asarray([*tokens, *[0] * (S + T - len(tokens))], jnp.int32)[None, None]
    return JUDGE.scores(params, ids, ids != 0)[0, 0]


def plain_contexts(params, batch, key):
    both = jnp.concatenate([batch['predict_ids'], batch['explain_ids']])
    context = STUDENT.encode(params, both, both != 0, key)
    return [jax.tree.map(lambda leaf, i=i: leaf[i : i + B], context) for i in (0, B)]


def plain_qcrd_loss(params, present, judge, batch, negatives, contrast, key):
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

    positives = [list(batch['positive_ids'][i][batch['positive_mask'][i]]) for i in range(B)]
    sampled = [list(np.asarray(negatives.ids)[i]) for i in range(B)]
    groups = [pos + neg for pos, neg in zip(positives, sampled, strict=True)]
    entropies = plain_cross_entropies(params, explain, groups, rationale_key)
    values = plain_cross_entropies(present, present_explain, groups, rationale_key)
    per_question = []
    for i, group in enumerate(groups):
        count, value = len(positives[i]), [float(v) for v in values[i]]

        def score(j, i=i, group=group):
            return plain_judge_score(judge, batch['question_ids'][i], group[j])

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
    exps = jnp.exp(JUDGE.scores(params, *joined, key))
    values = [
        -jnp.log(exps[i, :M][mask[i, :M]].sum() / exps[i, M:][mask[i, M:]].sum())
        for i in range(B)
        if mask[i, :M].any()
    ]
    return sum(values) / len(values)


def test_one_qcrd_step_is_the_paper_written_plainly(initial):
    # Dropout is on: the plain step draws the same masks, for they do not depend on how many
    # rationales are decoded at once. The margin leaves some negatives active and some inert.
    contrast = steps.Contrast(margin=3.1, update_every=1)
    optimizer = judge_optimizer = optimizers.adamw(RATE, clip_norm=0.5)
    step = steps.compile_step(
        steps.make_qcrd_step(STUDENT, optimizer, JUDGE, judge_optimizer, contrast, SAMPLING),
        ring=True,
    )
    batch = make_batch()
    ring = Ring.create(jax.tree.map(lambda leaf: leaf * 1.1, initial[0]), 2)
    generator = jax.tree.map(jnp.copy, ring.generator(0))
    state, metrics = step(
        make_state(initial, optimizer, judge_optimizer), ring.generator(0), batch, KEY
    )

    student, judge = initial
    sampling_key, _, judge_key = jax.random.split(jax.random.fold_in(KEY, 0), 3)
    negatives = rationales.sample_negatives(
        STUDENT, generator, on_device(batch), sampling_key, SAMPLING
    )
    (loss, contrastive), gradient = jax.value_and_grad(plain_qcrd_loss, has_aux=True)(
        student, student, judge, batch, negatives, contrast, KEY
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

    judge_loss, judge_gradient = jax.value_and_grad(
        lambda params: 0.5 * plain_discriminator_loss(params, batch, negatives, judge_key)
    )(judge)
    np.testing.assert_allclose(mean['discriminator_loss'], judge_loss / 0.5, rtol=1e-5)
    judge_params, _ = plain_adamw(judge, judge_gradient, 0.5)
    large = jax.tree.map(lambda g: np.abs(np.asarray(g)) > 1e-5, judge_gradient)
    updated = state.discriminator.params
    assert_trees_close(
        jax.tree.map(np.where, large, updated, judge_params), judge_params, rtol=0, atol=RATE * 1e-2
    )
    assert int(state.discriminator.updates) == 1


@pytest.mark.parametrize('update_every', [0, 2])
def test_a_chunk_is_so_many_single_steps(initial, update_every):
    lag = 3
    optimizer = judge_optimizer = optimizers.adamw(RATE)
    arguments = (STUDENT, optimizer, JUDGE, judge_optimizer)
    contrast = steps.Contrast(update_every=update_every)
    step = steps.compile_step(steps.make_qcrd_step(*arguments, contrast, SAMPLING), ring=True)
    chunk = jax.jit(steps.make_qcrd_chunk(*arguments, contrast, SAMPLING), donate_argnums=(0, 1))
    batches = [make_batch(t) for t in range(2 * lag)]

    one, ring = make_state(initial, optimizer, judge_optimizer), Ring.create(initial[0], lag)
    single = []
    for t, batch in enumerate(batches):
        past = one.params
        one, metrics = step(one, ring.generator(t), batch, KEY)
        ring = ring.push(t, past)
        single.append(float(metrics['loss'][0]))

    many, together = make_state(initial, optimizer, judge_optimizer), Ring.create(initial[0], lag)
    chunked = []
    for t in range(0, 2 * lag, lag):
        stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *batches[t : t + lag])
        many, past, metrics = chunk(many, together.oldest_first(t), stacked, KEY)
        together = Ring.from_oldest_first(past, t + lag)
        chunked.extend(np.asarray(metrics['loss'][0]).tolist())
    # Bit for bit on the machines we saw; another compiler may reorder a sum.
    np.testing.assert_allclose(chunked, single, rtol=1e-6)
    assert_trees_close((many, together), (one, ring), rtol=1e-4, atol=1e-6)


def test_a_generator_is_the_student_of_lag_steps_before(initial):
    # Through the compiled step with its donated buffers, on values.
    optimizer = optimizers.adamw(RATE)
    contrast = steps.Contrast()
    step = steps.compile_step(
        steps.make_qcrd_step(STUDENT, optimizer, None, None, contrast, SAMPLING), ring=True
    )
    state, ring = make_state(initial, optimizer), Ring.create(initial[0], 2)
    history = []
    for t in range(6):
        history.append(np.asarray(state.params['embedding']).copy())
        np.testing.assert_array_equal(ring.generator(t)['embedding'], history[max(t - 2, 0)])
        past = state.params
        state, _ = step(state, ring.generator(t), make_batch(t), KEY)
        ring = ring.push(t, past)
    assert np.abs(history[5] - history[4]).max() > 0


def test_a_step_is_traced_once(initial):
    traces = []
    optimizer = optimizers.adamw(RATE)
    plain = steps.make_qcrd_step(STUDENT, optimizer, None, None, steps.Contrast(), SAMPLING)

    def counted(*arguments):
        traces.append(1)
        return plain(*arguments)

    step = steps.compile_step(counted, ring=True)
    state, ring = make_state(initial, optimizer), Ring.create(initial[0], 2)
    for t in range(5):
        past = state.params
        state, _ = step(state, ring.generator(t), make_batch(t), KEY)
        ring = ring.push(t, past)
    assert len(traces) == 1


@pytest.mark.parametrize('scheme', losses.SCHEMES)
def test_selecting_first_leaves_the_gradient_as_it_is(initial, scheme):
    # Two passes, selected rationales only in the second, against one pass over all of them.
    batch = make_batch()
    contrast = steps.Contrast(scheme=scheme, margin=3.5)
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
        total, _, _ = contrast_rationales(
            lambda group: decode(params, group),
            lambda group: decode(initial[0], group),
            score,
            positives,
            negatives,
            contrast,
            draw_key,
        )
        return total.sum()

    def one_pass(params):
        values = entropies(params, rationales.concatenate(positives, negatives))
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

    def decode(group):
        # Softmax gives the target exp(-2), then exp(-1), and shares the rest evenly.
        entropies = jnp.array([2.0, 1.0])[None, :, None, None]
        others = jnp.log((jnp.exp(entropies) - 1) / (CONFIG.vocab_size - 1))
        return jnp.where(jax.nn.one_hot(group.ids, CONFIG.vocab_size) > 0, 0.0, others)

    total, _, _ = contrast_rationales(
        decode,
        decode,
        lambda ids: jnp.array([[0.5, 0.25]]),
        one,
        one,
        steps.Contrast(scheme=scheme),
        KEY,
    )
    np.testing.assert_allclose(total, [1.3], rtol=1e-6)


def test_methods_without_rationales_ignore_them(initial):
    # Fine-tuning sees the label alone; DSS the first rationale, where there is one.
    optimizer = optimizers.adamw(RATE)
    finetune = jax.jit(steps.make_finetune_step(STUDENT, optimizer))
    dss = jax.jit(steps.make_dss_step(STUDENT, optimizer, alpha=0.3))
    batch, other = make_batch(0), make_batch(1)
    swapped = batch | {k: other[k] for k in ('positive_ids', 'explain_ids')}
    state = make_state(initial, optimizer)
    one, two = (finetune(state, None, b, KEY)[0].params for b in (batch, swapped))
    assert_trees_close(one, two, rtol=0, atol=0)
    later = batch | {'positive_ids': np.concatenate(
        [batch['positive_ids'][:, :1], other['positive_ids'][:, 1:]], axis=1)}  # fmt: skip
    one, two = (dss(state, None, b, KEY)[1]['loss'][0] for b in (batch, later))
    assert one == two != dss(state, None, swapped, KEY)[1]['loss'][0]


def test_a_gradient_that_is_not_finite_changes_nothing(initial):
    optimizer = optimizers.adamw(RATE)
    step = jax.jit(steps.make_finetune_step(STUDENT, optimizer))
    state = make_state(initial, optimizer)
    broken = jax.tree.map(jnp.copy, state.params)
    broken['embedding'] = broken['embedding'].at[int(make_batch()['label_ids'][0, 0])].set(jnp.nan)
    state = dataclasses.replace(state, params=broken)
    after, metrics = step(state, None, make_batch(), KEY)
    assert metrics['nonfinite'][0] == 1.0
    assert int(after.step) == 1
    assert_trees_close((after.params, after.opt_state), (broken, state.opt_state), rtol=0, atol=0)


def test_alpha_decays_once_per_update_of_the_discriminator(initial):
    # SGD in the place of AdamW: the size of a step is then alpha times the gradient.
    sgd = optax.sgd(1.0)
    contrast = steps.Contrast(update_every=2, alpha_disc=0.5, alpha_disc_decay=0.1)
    config = dataclasses.replace(CONFIG, dropout_rate=0.0)
    step = jax.jit(
        steps.make_qcrd_step(
            T5Student(config), optax.sgd(0.0), Discriminator(T5Encoder(config)), sgd, contrast, None
        )
    )
    state = make_state(initial, optax.sgd(0.0), sgd)
    batch = make_batch()

    def gradient(params):
        ids = np.concatenate([batch['positive_ids'], batch['negative_ids']], axis=1)
        joined = join(jnp.asarray(batch['question_ids']), jnp.asarray(ids), pad_id=0, eos_id=1)
        scores = Discriminator(T5Encoder(config)).scores(params, *joined)
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


def test_pretraining_separates_what_can_be_separated(initial):
    # Positives end in token 5, negatives in token 6: the judge has to find it.
    optimizer = optimizers.adamw(3e-3)
    step = jax.jit(make_discriminator_step(JUDGE, optimizer))
    state = DiscriminatorState(initial[1], optimizer.init(initial[1]), jnp.int32(0))
    for t in range(150):
        batch = make_batch(t)
        for kind, token in (('positive', 5), ('negative', 6)):
            ids = np.where(np.isin(batch[f'{kind}_ids'], (5, 6)), 7, batch[f'{kind}_ids'])
            ids[..., 0] = token
            batch[f'{kind}_ids'] = ids * batch[f'{kind}_mask'][..., None]
        state, metrics = step(state, batch, KEY)
    mean = {name: float(total / count) for name, (total, count) in metrics.items()}
    assert mean['positive_score'] > 0.9
    assert mean['negative_score'] < 0.1


def test_scores_do_not_depend_on_the_padding_that_is_cut(initial):
    batch = make_batch()
    ids = jnp.asarray(batch['positive_ids'])
    length = joined_length(batch, 0, bucket=1)
    tokens = [
        (batch['question_ids'][i] != 0).sum() - 1 + (rationale != 0).sum()
        for i in range(B)
        for rationale in [*batch['positive_ids'][i], *batch['negative_ids'][i]]
    ]
    assert length == max(tokens) < S + T
    whole, cut = (
        score_rationales(JUDGE, initial[1], on_device(batch), ids, None, n) for n in (None, length)
    )
    np.testing.assert_allclose(cut, whole, atol=1e-6)


@pytest.mark.parametrize('variant', losses.MUTUAL_INFORMATION_VARIANTS)
def test_mi_adds_its_term_to_dss(initial, variant):
    # The term by loops over questions, in NumPy from the two tasks' logits; no dropout here.
    optimizer = optimizers.adamw(RATE)
    shared = steps.MutualInformation(0.7, variant)
    batch = make_batch()
    state = make_state(initial, optimizer)
    plain, dss = (
        jax.jit(steps.make_dss_step(STILL, optimizer, alpha=0.3, shared=how))(
            state, None, batch, KEY
        )[1]
        for how in (shared, None)
    )
    predict, explain = (
        STILL.encode(initial[0], jnp.asarray(batch[name]), jnp.asarray(batch[name] != 0))
        for name in ('predict_ids', 'explain_ids')
    )
    label_ids, rationale_ids = batch['label_ids'], batch['positive_ids'][:, :1]
    labels = STILL.decode(initial[0], predict, jnp.asarray(label_ids)[:, None])[:, 0]
    rationales_ = STILL.decode(initial[0], explain, jnp.asarray(rationale_ids))[:, 0]

    def pool(logits, ids):
        probabilities = np.exp(logits - np.log(np.exp(logits).sum(-1, keepdims=True)))
        real = ids != 0 if variant == 'masked' else np.ones_like(ids, bool)
        return probabilities[real].max(axis=0)

    values = []
    for i in range(B):
        if not batch['positive_mask'][i, 0]:
            continue
        label = pool(np.asarray(labels[i], np.float64), label_ids[i])
        rationale = pool(np.asarray(rationales_[i], np.float64), rationale_ids[i, 0])
        if variant == 'masked':
            values.append(-(label / label.sum() * np.log(rationale / rationale.sum())).sum())
        else:
            values.append(-(label * (rationale - np.log(np.exp(rationale).sum()))).sum())
    expected = np.mean(values)
    np.testing.assert_allclose(plain['mutual_information_loss'][0], expected, rtol=1e-5)
    np.testing.assert_allclose(plain['loss'][0] - dss['loss'][0], 0.7 * expected, rtol=1e-4)


def test_mi_with_qcrd_takes_the_selected_positive(initial):
    # Of the question's positives the easiest is learned; it is the one that MI's term is about.
    optimizer = optimizers.adamw(RATE)
    shared = steps.MutualInformation(1.0, 'masked')
    arguments = (STILL, optimizer, None, None, steps.Contrast(), None)
    batch = make_batch()
    state = make_state(initial, optimizer)
    together = jax.jit(steps.make_qcrd_step(*arguments, shared))(state, None, batch, KEY)[1]
    qcrd = jax.jit(steps.make_qcrd_step(*arguments))(state, None, batch, KEY)[1]
    questions = jnp.asarray(batch['explain_ids'])
    explain = STILL.encode(initial[0], questions, questions != 0)
    logits = STILL.decode(initial[0], explain, jnp.asarray(batch['positive_ids']))
    entropies = losses.sequence_cross_entropy(
        logits, jnp.asarray(batch['positive_ids']), jnp.asarray(batch['positive_ids'] != 0)
    )
    easiest = np.argmin(np.where(batch['positive_mask'], entropies, np.inf), axis=1)
    chosen = batch['positive_ids'][np.arange(B), easiest][:, None]
    alone = batch | {
        'positive_ids': chosen,
        'positive_mask': batch['positive_mask'].any(axis=1, keepdims=True),
    }
    mi = jax.jit(steps.make_dss_step(STILL, optimizer, shared=shared))(state, None, alone, KEY)[1]
    expected = mi['mutual_information_loss'][0]
    np.testing.assert_allclose(together['mutual_information_loss'][0], expected, rtol=1e-5)
    np.testing.assert_allclose(together['loss'][0] - qcrd['loss'][0], expected, rtol=1e-4)
