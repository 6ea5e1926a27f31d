"""The losses of rivals: what else is done with a good and a bad answer to the same question.

Everything is given as log-probabilities, in nats and as the papers have them: of a token, of a
whole sequence (the sum over its tokens, EOS included), or of a sequence's mean token. In the terms
of `contrastive_loss` a mean log-probability is -l(x, r). Shapes: one value per pair, under any
leading axes.

A loss has a value for a pair only; for questions that lack one of the two, mask it (`masked_mean`).
Whatever is finite, in a place that a mask leaves out, makes no NaN.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from qcrd_jax.losses.shapes import checked

_CLOSEST = 1e-6  # that a log-probability comes to 0 where log(1 - p) is taken
_LOWEST = -1e30  # a logit that leaves no probability


@checked
def redi_loss(
    positive: Float[Array, '*pairs'], negative: Float[Array, '*pairs'], *, alpha: float = 0.8
) -> Float[Array, '*pairs']:
    """REDI: `-lp+ / |y+| + alpha lp- / |y-|`, asymmetric and without a reference.

    Source: Xu et al., "Harnessing Negative Signals: Reinforcement Distillation from Teacher Data
    for LLM Reasoning", 2025 (arXiv:2505.24850), where it is the loss type `reinforce`. It is not
    bounded below; QCRD's margin is what bounds its own negative term.

    Args:
      positive: mean log-probability of the good answers' tokens.
      negative: likewise of the bad ones.
      alpha: weight of the bad ones, 0.8 in the paper.

    >>> redi_loss(jnp.array([-1.0]), jnp.array([-2.0]))
    Array([-0.6], dtype=float32)
    """
    positive, negative = _float32(positive, negative)
    return -positive + alpha * negative


@checked
def dpo_loss(
    positive: Float[Array, '*pairs'],
    negative: Float[Array, '*pairs'],
    reference_positive: Float[Array, '*pairs'],
    reference_negative: Float[Array, '*pairs'],
    *,
    beta: float = 0.1,
    smoothing: float = 0.0,
) -> Float[Array, '*pairs']:
    """DPO: `-log sigmoid(beta h)`, h how far the pair is further apart than under the reference.

    Source: Rafailov et al., "Direct Preference Optimization", 2023 (arXiv:2305.18290), eq. 7.
    Smoothed it is conservative DPO (Mitchell, 2023): the pair is the wrong way round with that
    probability. No gradient reaches the reference.

    Args:
      positive: log-probability of the good answers.
      negative: likewise of the bad ones.
      reference_positive: that of the good answers under the reference.
      reference_negative: likewise of the bad ones.
      beta: strength of the pull to the reference.
      smoothing: in [0, 0.5).

    >>> loss = dpo_loss(*(jnp.array([x]) for x in (-10.0, -20.0, -12.0, -12.0)))
    >>> round(float(loss[0]), 4)  # log(1 + exp(-0.1 * 10))
    0.3133
    """
    wide = beta * _apart(positive, negative, reference_positive, reference_negative)
    return -(1 - smoothing) * jax.nn.log_sigmoid(wide) - smoothing * jax.nn.log_sigmoid(-wide)


@checked
def spin_loss(
    real: Float[Array, '*pairs'],
    generated: Float[Array, '*pairs'],
    opponent_real: Float[Array, '*pairs'],
    opponent_generated: Float[Array, '*pairs'],
    *,
    scale: float = 0.1,
) -> Float[Array, '*pairs']:
    """SPIN: `log(1 + exp(-lambda h))`; the opponent wrote the bad answers and is the reference.

    Source: Chen et al., "Self-Play Fine-Tuning Converts Weak Language Models to Strong Language
    Models", 2024 (arXiv:2401.01335), with its logistic loss. In numbers it is DPO without
    smoothing; what makes it SPIN is whose answers these are: those of the student's own past.

    Args:
      real: log-probability of the teacher's answers.
      generated: that of the opponent's.
      opponent_real: that of the teacher's answers under the opponent.
      opponent_generated: that of the opponent's own.
      scale: lambda.
    """
    return dpo_loss(real, generated, opponent_real, opponent_generated, beta=scale)


@checked
def simpo_loss(
    positive: Float[Array, '*pairs'],
    negative: Float[Array, '*pairs'],
    *,
    beta: float = 2.0,
    gamma_ratio: float = 0.5,
) -> Float[Array, '*pairs']:
    """SimPO: `-log sigmoid(beta lp+ / |y+| - beta lp- / |y-| - gamma)`, without a reference.

    Source: Meng et al., "SimPO: Simple Preference Optimization with a Reference-Free Reward", 2024
    (arXiv:2405.14734), eq. 6.

    Args:
      positive: mean log-probability of the good answers' tokens.
      negative: likewise of the bad ones.
      beta: scale of the rewards.
      gamma_ratio: the margin gamma as a multiple of beta, nats per token.

    >>> loss = simpo_loss(jnp.array([-1.0]), jnp.array([-2.0]))
    >>> round(float(loss[0]), 4)  # log(1 + exp(-1))
    0.3133
    """
    positive, negative = _float32(positive, negative)
    return -jax.nn.log_sigmoid(beta * (positive - negative - gamma_ratio))


@checked
def orpo_loss(
    positive: Float[Array, '*pairs'], negative: Float[Array, '*pairs']
) -> Float[Array, '*pairs']:
    """ORPO's odds ratio, `-log sigmoid(log odds(y+) - log odds(y-))`, without the cross-entropy.

    Source: Hong et al., "ORPO: Monolithic Preference Optimization without Reference Model", 2024
    (arXiv:2403.07691), eq. 7; eq. 6 adds it to the good answer's cross-entropy, with weight lambda.
    The odds are those of a sequence's mean token, p / (1 - p) with log p its mean log-probability.

    Args:
      positive: mean log-probability of the good answers' tokens.
      negative: likewise of the bad ones.

    >>> orpo_loss(jnp.log(jnp.array([0.5])), jnp.log(jnp.array([0.25]))).round(4)  # odds 1 and 1/3
    Array([0.2877], dtype=float32)
    """
    positive, negative = _float32(positive, negative)
    odds = [value - _log_complement(value) for value in (positive, negative)]
    return -jax.nn.log_sigmoid(odds[0] - odds[1])


@checked
def kto_loss(
    rewards: Float[Array, '*answers'],
    divergence: Float[Array, ''],
    *,
    desirable: bool,
    beta: float = 0.1,
) -> Float[Array, '*answers']:
    """KTO: `1 - sigmoid(beta (r - z))` of a good answer, `1 - sigmoid(beta (z - r))` of a bad one.

    Source: Ethayarajh et al., "KTO: Model Alignment as Prospect Theoretic Optimization", 2024
    (arXiv:2402.01306). Answers need no partner. No gradient reaches z.

    Args:
      rewards: r, log-probability of the answers less that under the reference.
      divergence: z, of student and reference; see `kto_divergence`.
      desirable: whether the answers are good ones.
      beta: strength of the pull to the reference.

    >>> kto_loss(jnp.array([10.0]), jnp.float32(0.0), desirable=True).round(4)  # 1 - sigmoid(1)
    Array([0.2689], dtype=float32)
    """
    (rewards,) = _float32(rewards)
    distance = beta * (rewards - lax.stop_gradient(divergence))
    return 1.0 - jax.nn.sigmoid(distance if desirable else -distance)


@checked
def kto_divergence(
    rewards: Float[Array, '*answers'], mask: Bool[Array, '*answers']
) -> Float[Array, '']:
    """The z of `kto_loss`: the mean reward of answers to other questions, 0 where that is negative.

    Args:
      rewards: of answers that do not belong to the questions they were scored for.
      mask: which of them exist.

    >>> kto_divergence(jnp.array([1.0, 2.0, 9.0]), jnp.array([True, True, False]))
    Array(1.5, dtype=float32)
    """
    (rewards,) = _float32(rewards)
    total = jnp.sum(jnp.where(mask, rewards, 0.0))
    return lax.stop_gradient(jnp.maximum(total / jnp.maximum(jnp.sum(mask), 1), 0.0))


@checked
def unlikelihood_loss(
    tokens: Float[Array, '*answers T'], mask: Bool[Array, '*answers T']
) -> Float[Array, '*answers']:
    """Unlikelihood: the mean of `-log(1 - p)` over the tokens of a bad answer.

    Source: Welleck et al., "Neural Text Generation with Unlikelihood Training", 2020
    (arXiv:1908.04319), every token of the answer a negative candidate. A token that is
    certain counts as if p were 1 - 1e-6.

    Args:
      tokens: log-probabilities of the tokens.
      mask: which of them exist; a sequence of none has 0.

    >>> unlikelihood_loss(jnp.log(jnp.array([[0.5, 0.75]])), jnp.ones((1, 2), bool)).round(4)
    Array([1.0397], dtype=float32)
    """
    (tokens,) = _float32(tokens)
    total = jnp.sum(jnp.where(mask, -_log_complement(tokens), 0.0), axis=-1)
    return total / jnp.maximum(jnp.sum(mask, axis=-1), 1)


@checked
def advantage_weights(
    rewards: Float[Array, '*batch R'], mask: Bool[Array, '*batch R'], *, temperature: float = 1.0
) -> Float[Array, '*batch R']:
    """Weights of a teacher's answers by their group-relative rewards; those of a question add to 1.

    The advantage of an answer is its reward less the mean of its question's, in units of their
    (population) standard deviation; the weights are the softmax of the advantages. Where all
    rewards of a question are equal, so are the weights: nothing is known of them.

    Source: Padarha, "Enhancing Reasoning Capabilities in SLMs with Reward Guided Dataset
    Distillation" (AdvDistill), 2025 (arXiv:2507.00054), which takes the advantage from GRPO (Shao
    et al., 2024). Its penalty on wrong answers is not part of this.

    Args:
      rewards: of each answer to a question.
      mask: which answers exist.
      temperature: of the softmax; towards 0 the best answer takes all.

    >>> ones = jnp.ones((1, 3), bool)
    >>> weights = advantage_weights(jnp.array([[1.0, 0.0, 0.0]]), ones)
    >>> [round(weight, 3) for weight in weights[0].tolist()]
    [0.807, 0.097, 0.097]
    """
    (rewards,) = _float32(rewards)
    count = jnp.maximum(jnp.sum(mask, axis=-1, keepdims=True), 1)
    kept = jnp.where(mask, rewards, 0.0)
    centred = jnp.where(mask, kept - jnp.sum(kept, axis=-1, keepdims=True) / count, 0.0)
    deviation = jnp.sqrt(jnp.sum(centred**2, axis=-1, keepdims=True) / count)
    advantage = centred / jnp.maximum(deviation, 1e-6)
    weights = jax.nn.softmax(jnp.where(mask, advantage / temperature, _LOWEST), axis=-1)
    return lax.stop_gradient(jnp.where(mask, weights, 0.0))


def _apart(
    positive: Float[Array, '*pairs'],
    negative: Float[Array, '*pairs'],
    reference_positive: Float[Array, '*pairs'],
    reference_negative: Float[Array, '*pairs'],
) -> Float[Array, '*pairs']:
    """How much further apart the two are than under the reference, nats."""
    values = _float32(positive, negative, reference_positive, reference_negative)
    return values[0] - values[1] - lax.stop_gradient(values[2] - values[3])


def _log_complement(values: Float[Array, '*shape']) -> Float[Array, '*shape']:
    """log(1 - p) of log p."""
    return jnp.log(-jnp.expm1(jnp.minimum(values, -_CLOSEST)))


def _float32(*values: Float[Array, '*shape']) -> tuple[Float[Array, '*shape'], ...]:
    return tuple(value.astype(jnp.float32) for value in values)
