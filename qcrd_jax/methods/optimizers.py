"""AdamW as the paper and DSS's trainer use it, and an update that refuses what is not finite."""

from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Bool, Float

from qcrd_jax.errors import InputError
from qcrd_jax.models.protocol import Params

Schedule = Literal['linear', 'constant']


def check_warmup(warmup_steps: int, steps: int) -> None:
    """Refuses a warm-up that is longer than the run.

    Raises:
      InputError: naming both.
    """
    if warmup_steps > steps:
        raise InputError(
            f'--config.optimizer.warmup_steps: expected at most train.steps ({steps}), got '
            f'{warmup_steps}.'
        )


def learning_rate_schedule(
    learning_rate: float, *, schedule: str, steps: int, warmup_steps: int = 0
) -> optax.Schedule:
    """Learning rate by optimiser step.

    Args:
      learning_rate: the peak.
      schedule: 'linear' falls to zero at `steps`, as in DSS's trainer; 'constant' stays.
      steps: of the whole run.
      warmup_steps: of a linear rise from zero.

    Raises:
      ValueError: if `schedule` is unknown.
    """
    if schedule not in get_args(Schedule):
        known = ' or '.join(map(repr, get_args(Schedule)))
        raise ValueError(f'schedule: expected {known}, got {schedule!r}.')
    end = 0.0 if schedule == 'linear' else learning_rate
    fall = optax.linear_schedule(learning_rate, end, max(steps - warmup_steps, 1))
    rise = optax.linear_schedule(0.0, learning_rate, max(warmup_steps, 1))
    return optax.join_schedules([rise, fall], [warmup_steps])


def adamw(
    learning_rate: optax.ScalarOrSchedule,
    *,
    clip_norm: float = 1.0,
    weight_decay: float = 0.0,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
) -> optax.GradientTransformation:
    """AdamW after clipping by the global norm (`clip_norm` 0: no clipping): `optax.adamw`."""
    clip = [optax.clip_by_global_norm(clip_norm)] if clip_norm else []
    return Refusing(
        *optax.chain(
            *clip,
            _scale_by_adam(b1, b2, eps),
            optax.add_decayed_weights(weight_decay),
            optax.scale_by_learning_rate(learning_rate),
        )
    )


class Refusing(optax.GradientTransformationExtraArgs):
    """An optimiser whose `update` has the argument `finite`: False leaves its moments as they are.

    Moments only: its counts may go on.
    """


def _scale_by_adam(b1: float, b2: float, eps: float) -> optax.GradientTransformationExtraArgs:
    """`optax.scale_by_adam`, whose step is computed from the moments that it leaves.

    If it read the old ones they would have to outlast the new, and be copied before every step.
    """
    adam = optax.scale_by_adam(b1, b2, eps)

    def update(updates, state, params=None, *, finite=True, **_):
        new = _select(finite, adam.update(updates, state, params)[1], state)
        # A CPU would compute them anew for the step; a GPU writes both in one kernel.
        new = lax.platform_dependent(new, cpu=lax.optimization_barrier, default=lambda kept: kept)
        mean, square = (
            optax.tree.bias_correction(moment, decay, new.count)
            for moment, decay in ((new.mu, b1), (new.nu, b2))
        )
        return jax.tree.map(lambda m, v: m / (jnp.sqrt(v) + eps), mean, square), new

    return optax.GradientTransformationExtraArgs(adam.init, update)


def _select(condition: Bool[Array, ''] | bool, new: Any, old: Any) -> Any:
    """Returns one of two trees."""
    return jax.tree.map(lambda new, old: jnp.where(condition, new, old), new, old)


def apply_if_finite(
    optimizer: optax.GradientTransformation, gradient: Params, opt_state: Any, params: Params
) -> tuple[Params, Any, Float[Array, '']]:
    """Applies a gradient if all of it is finite, else changes neither parameters nor moments.

    (`optax.apply_if_finite` gives in after a number of bad steps; this never does.) The criterion
    is the global norm, so a gradient whose squares overflow float32 counts as not finite.

    Returns:
      Parameters, optimiser state, and 1.0 if the update was applied, 0.0 if not.
    """
    finite = jnp.isfinite(optax.tree.norm(gradient))
    if isinstance(optimizer, Refusing):
        updates, state = optimizer.update(gradient, opt_state, params, finite=finite)
        state = jax.tree.map(
            lambda new, old: new if new.ndim else jnp.where(finite, new, old), state, opt_state
        )
    else:
        updates, state = optimizer.update(gradient, opt_state, params)
        state = _select(finite, state, opt_state)
    params = _select(finite, optax.apply_updates(params, updates), params)
    return params, state, finite.astype(jnp.float32)
