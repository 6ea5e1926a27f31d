"""Losses against loops over single rationales in NumPy float64, gradients by central differences.

The reference below is written from the equations, one question and one rationale at a time, and
shares no code with the vectorised implementation. Float32 against float64: tolerance 1e-5 on values
of order 1, 2e-3 relative on gradients (the step of the central difference costs the rest).
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qcrd_jax import losses

SCHEMES = ('min_max', 'max_min', 'sampling', 'mean', 'weighted_mean')


def reference_contrastive(pos, neg, s_pos, s_neg, pos_mask, neg_mask, beta, margin, scheme, draws):
    """Eqs. 3, 6, 7 and Table 5, with Python loops; returns one value per question."""
    totals = []
    for i in range(len(pos)):
        sides = []
        for losses_, quality, mask, draw, first in (
            (pos[i], s_pos[i], pos_mask[i], draws[0][i], min if scheme == 'min_max' else max),
            (
                [min(value - margin, 0.0) for value in neg[i]],
                1.0 - s_neg[i],
                neg_mask[i],
                draws[1][i],
                max if scheme == 'min_max' else min,
            ),
        ):
            real = [j for j in range(len(mask)) if mask[j]]
            if not real:
                sides.append(0.0)
            elif scheme == 'mean':
                sides.append(sum(losses_[j] for j in real) / len(real))
            elif scheme == 'weighted_mean':
                sides.append(sum(quality[j] * losses_[j] for j in real) / len(real))
            elif scheme == 'sampling':
                j = max(real, key=lambda j: draw[j])
                sides.append(quality[j] * losses_[j])
            else:
                j = first(real, key=lambda j: losses_[j])
                sides.append(quality[j] * losses_[j])
        totals.append(sides[0] - beta * sides[1])
    return np.array(totals)


def numeric_gradient(function, x, step=1e-5):
    gradient = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        up, down = x.copy(), x.copy()
        up[index] += step
        down[index] -= step
        gradient[index] = (function(up) - function(down)) / (2 * step)
    return gradient


@pytest.fixture
def case():
    rng = np.random.default_rng(0)
    b, m, k = 6, 4, 3
    pos_mask = rng.random((b, m)) < 0.7
    neg_mask = rng.random((b, k)) < 0.7
    pos_mask[0] = neg_mask[1] = False  # no positive, no negative
    pos_mask[2] = neg_mask[2] = False  # neither
    pos_mask[3] = neg_mask[3] = True
    s_pos, s_neg = rng.random((b, m)), rng.random((b, k))
    s_pos[3], s_neg[3] = [0, 1, 0, 1], [0, 1, 0]  # a discriminator that is sure
    return {
        'pos': rng.uniform(0.1, 5, (b, m)),
        'neg': rng.uniform(0.1, 5, (b, k)),
        's_pos': s_pos,
        's_neg': s_neg,
        'pos_mask': pos_mask,
        'neg_mask': neg_mask,
        'draws': (rng.random((b, m)), rng.random((b, k))),
    }


contrastive_loss = jax.jit(losses.contrastive_loss, static_argnames=('beta', 'margin', 'scheme'))


def contrastive(case, pos, neg, s_pos, s_neg, scheme):
    return contrastive_loss(
        jnp.asarray(pos, jnp.float32),
        jnp.asarray(neg, jnp.float32),
        jnp.asarray(s_pos, jnp.float32),
        jnp.asarray(s_neg, jnp.float32),
        jnp.asarray(case['pos_mask']),
        jnp.asarray(case['neg_mask']),
        beta=0.3,
        margin=2.0,
        scheme=scheme,
        positive_draws=jnp.asarray(case['draws'][0], jnp.float32),
        negative_draws=jnp.asarray(case['draws'][1], jnp.float32),
    )


@pytest.mark.parametrize('scheme', SCHEMES)
def test_contrastive_loss_and_gradient(case, scheme):
    def reference(pos, neg):
        return reference_contrastive(
            pos,
            neg,
            case['s_pos'],
            case['s_neg'],
            case['pos_mask'],
            case['neg_mask'],
            0.3,
            2.0,
            scheme,
            case['draws'],
        )

    loss = contrastive(case, case['pos'], case['neg'], case['s_pos'], case['s_neg'], scheme)
    np.testing.assert_allclose(loss.total, reference(case['pos'], case['neg']), atol=1e-5)

    def total(pos, neg):
        return contrastive(case, pos, neg, case['s_pos'], case['s_neg'], scheme).total.sum()

    gradient = jax.jit(jax.grad(total, (0, 1)))(*map(jnp.float32, (case['pos'], case['neg'])))
    expected_pos = numeric_gradient(lambda x: reference(x, case['neg']).sum(), case['pos'])
    expected_neg = numeric_gradient(lambda x: reference(case['pos'], x).sum(), case['neg'])
    np.testing.assert_allclose(gradient[0], expected_pos, atol=1e-5)
    np.testing.assert_allclose(gradient[1], expected_neg, atol=1e-5)


@pytest.mark.parametrize('scheme', SCHEMES)
def test_no_gradient_reaches_the_scores(case, scheme):
    def total(s_pos, s_neg):
        return contrastive(case, case['pos'], case['neg'], s_pos, s_neg, scheme).total.sum()

    gradients = jax.jit(jax.grad(total, (0, 1)))(*map(jnp.float32, (case['s_pos'], case['s_neg'])))
    for gradient in gradients:
        np.testing.assert_array_equal(gradient, 0.0)


def test_negatives_beyond_the_margin_are_inert():
    # One negative below the margin and one beyond it: eq. 5 takes the max of (-1, 0), which is 0.
    ones = jnp.ones((1, 2), bool)

    def negative(neg):
        return losses.contrastive_loss(
            jnp.ones((1, 2)), neg, jnp.ones((1, 2)), jnp.zeros((1, 2)), ones, ones, margin=3.0
        ).negative.sum()

    neg = jnp.array([[2.0, 5.0]])
    assert negative(neg) == 0.0
    np.testing.assert_array_equal(jax.grad(negative)(neg), 0.0)
    # Both below: the harder of the two, 2.5, is pushed.
    np.testing.assert_array_equal(jax.grad(negative)(jnp.array([[2.0, 2.5]])), [[0.0, 1.0]])


def test_everything_padded_is_zero_with_zero_gradient():
    none = jnp.zeros((2, 3), bool)
    x = jnp.full((2, 3), jnp.inf)  # whatever stands behind a mask

    def total(values):
        loss = losses.contrastive_loss(values, values, values, values, none, none)
        return losses.masked_mean(loss.total, jnp.zeros(2, bool)) + loss.total.sum()

    value, gradient = jax.jit(jax.value_and_grad(total))(x)
    assert value == 0.0
    np.testing.assert_array_equal(gradient, 0.0)


def reference_discriminator(s_pos, s_neg, pos_mask, neg_mask, kind):
    values, valid = [], []
    for i in range(len(s_pos)):
        pos, neg = s_pos[i][pos_mask[i]], s_neg[i][neg_mask[i]]
        if kind == 'bce':
            terms = [-np.log(np.clip(s, 1e-7, 1 - 1e-7)) for s in [*pos, *(1 - neg)]]
            valid.append(bool(terms))
            values.append(np.mean(terms) if terms else 0.0)
            continue
        valid.append(len(pos) > 0 and len(neg) > 0)
        below = np.exp(neg).sum() + (np.exp(pos).sum() if kind == 'info_nce' else 0.0)
        values.append(-np.log(np.exp(pos).sum() / below) if valid[-1] else 0.0)
    return np.array(values), np.array(valid)


@pytest.mark.parametrize('kind', ['ratio', 'info_nce', 'bce'])
def test_discriminator_loss_and_gradient(case, kind):
    # Sure scores (0 and 1) are kept for the value, left out of the numeric gradient of `bce`.
    def loss(s_pos, s_neg):
        return jax.jit(losses.discriminator_loss, static_argnames='kind')(
            jnp.asarray(s_pos, jnp.float32),
            jnp.asarray(s_neg, jnp.float32),
            jnp.asarray(case['pos_mask']),
            jnp.asarray(case['neg_mask']),
            kind=kind,
        )

    masks = case['pos_mask'], case['neg_mask']
    value, valid = loss(case['s_pos'], case['s_neg'])
    expected, expected_valid = reference_discriminator(case['s_pos'], case['s_neg'], *masks, kind)
    np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(valid, expected_valid)

    s_pos, s_neg = (np.clip(s, 0.05, 0.95) for s in (case['s_pos'], case['s_neg']))
    gradient = jax.jit(jax.grad(lambda p, n: loss(p, n).loss.sum(), (0, 1)))(
        jnp.float32(s_pos), jnp.float32(s_neg)
    )
    for mine, numeric in zip(
        gradient,
        (
            numeric_gradient(
                lambda x: reference_discriminator(x, s_neg, *masks, kind)[0].sum(), s_pos
            ),
            numeric_gradient(
                lambda x: reference_discriminator(s_pos, x, *masks, kind)[0].sum(), s_neg
            ),
        ),
        strict=True,
    ):
        np.testing.assert_allclose(mine, numeric, rtol=2e-3, atol=1e-5)
    sure = jax.jit(jax.grad(lambda p: loss(p, case['s_neg']).loss.sum()))(
        jnp.float32(case['s_pos'])
    )
    assert np.isfinite(sure).all()


def reference_token_losses(logits, targets):
    shifted = logits - logits.max(-1, keepdims=True)
    log_probs = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    return -np.take_along_axis(log_probs, targets[..., None], -1)[..., 0]


@pytest.mark.parametrize('dtype,tolerance', [(jnp.float32, 1e-5), (jnp.bfloat16, 1e-5)])
def test_cross_entropies(dtype, tolerance):
    # bfloat16 logits are exact in float64, so the same tolerance holds: the arithmetic is float32.
    rng = np.random.default_rng(1)
    logits = jnp.asarray(rng.normal(size=(3, 2, 5, 7)) * 4, dtype)
    targets = rng.integers(0, 7, (3, 2, 5))
    mask = rng.random((3, 2, 5)) < 0.6
    mask[0, 0] = False
    token = reference_token_losses(np.asarray(logits, np.float64), targets)
    per_sequence = np.where(mask, token, 0).sum(-1) / np.maximum(mask.sum(-1), 1)
    targets, jmask = jnp.asarray(targets, jnp.int32), jnp.asarray(mask)
    actual = losses.sequence_cross_entropy(logits, targets, jmask)
    assert actual.dtype == jnp.float32
    np.testing.assert_allclose(actual, per_sequence, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(
        losses.seq2seq_loss(logits, targets, jmask), token[mask].mean(), rtol=tolerance
    )


def test_cross_entropy_gradient_is_softmax_minus_one_hot():
    rng = np.random.default_rng(2)
    logits = rng.normal(size=(2, 4, 5))
    targets = rng.integers(0, 5, (2, 4))
    mask = np.array([[1, 1, 1, 0], [0, 0, 0, 0]], bool)
    loss = jax.grad(lambda x: losses.seq2seq_loss(x, jnp.int32(targets), jnp.asarray(mask)).sum())
    gradient = jax.jit(loss)(jnp.float32(logits))
    softmax = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    expected = (softmax - np.eye(5)[targets]) * mask[..., None] / 3
    np.testing.assert_allclose(gradient, expected, atol=1e-6)


def test_all_padding_gives_zero_not_nan():
    logits, targets = jnp.ones((2, 3, 4)), jnp.zeros((2, 3), jnp.int32)
    none = jnp.zeros((2, 3), bool)
    for function in (losses.seq2seq_loss, losses.sequence_cross_entropy):
        total = jax.value_and_grad(lambda x, f=function: f(x, targets, none).sum())
        value, gradient = jax.jit(total)(logits)
        assert value == 0.0
        np.testing.assert_array_equal(gradient, 0.0)


@pytest.mark.parametrize('variant', ['official', 'masked'])
def test_mutual_information(variant):
    rng = np.random.default_rng(3)
    explain, predict = rng.normal(size=(3, 5, 6)) * 2, rng.normal(size=(3, 4, 6)) * 2
    explain_mask, predict_mask = rng.random((3, 5)) < 0.7, rng.random((3, 4)) < 0.7
    explain_mask[:2, 0] = predict_mask[:, 0] = True
    explain_mask[2] = False

    def softmax(x):
        return np.exp(x) / np.exp(x).sum(-1, keepdims=True)

    def reference(explain):
        values = []
        for i in range(3):
            q, p = softmax(explain[i]), softmax(predict[i])
            if variant == 'official':
                pooled = q.max(0)
                values.append(-(p.max(0) * np.log(softmax(pooled))).sum())
            elif not explain_mask[i].any():
                values.append(0.0)
            else:
                q, p = q[explain_mask[i]].max(0), p[predict_mask[i]].max(0)
                values.append(-(p / p.sum() * np.log(q / q.sum())).sum())
        return np.array(values)

    @jax.jit
    def loss(explain, predict):
        return losses.mutual_information_loss(
            explain,
            predict,
            jnp.asarray(explain_mask),
            jnp.asarray(predict_mask),
            variant=variant,
        )

    arguments = jnp.float32(explain), jnp.float32(predict)
    np.testing.assert_allclose(loss(*arguments), reference(explain), rtol=1e-5)
    gradient = jax.jit(jax.grad(lambda e, p: loss(e, p).sum(), (0, 1)))(*arguments)
    np.testing.assert_allclose(
        gradient[0], numeric_gradient(lambda x: reference(x).sum(), explain), rtol=2e-3, atol=1e-5
    )
    np.testing.assert_array_equal(gradient[1], 0.0)  # the label task is a constant


def test_mutual_information_matches_the_official_torch_expression():
    torch = pytest.importorskip('torch')
    rng = np.random.default_rng(4)
    explain, predict = rng.normal(size=(2, 5, 6)), rng.normal(size=(2, 4, 6))
    expected = torch.nn.CrossEntropyLoss()(
        torch.tensor(explain).softmax(-1).max(-2)[0], torch.tensor(predict).softmax(-1).max(-2)[0]
    )
    mine = losses.mutual_information_loss(
        jnp.float32(explain), jnp.float32(predict), jnp.ones((2, 5), bool), jnp.ones((2, 4), bool)
    )
    np.testing.assert_allclose(mine.mean(), expected.item(), rtol=1e-5)


def test_total_and_dss_weights():
    one, two, three = (jnp.float32(x) for x in (1, 2, 3))
    total = losses.total_loss(one, two, three, alpha_pred=0.1, alpha_cl=0.2, alpha_disc=0.3)
    np.testing.assert_allclose(total, 0.1 + 0.4 + 0.9, rtol=1e-6)
    student = losses.total_loss(one, two, alpha_pred=0.1, alpha_cl=0.2)  # its half has no L_D
    np.testing.assert_allclose(student, 0.1 + 0.4, rtol=1e-6)
    np.testing.assert_allclose(losses.dss_loss(one, three, alpha=0.25), 0.25 + 2.25, rtol=1e-6)


@pytest.mark.parametrize(
    'call',
    [
        lambda x, m: losses.select(x, m, scheme='mean', side='positive'),
        lambda x, m: losses.select(x, m, scheme='sampling', side='positive'),
    ],
)
def test_unknown_names_are_refused(call):
    with pytest.raises(ValueError, match=r'expected one of|needs uniform draws'):
        call(jnp.ones((1, 2)), jnp.ones((1, 2), bool))
