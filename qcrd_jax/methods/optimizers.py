"""AdamW as the paper and DSS's trainer use it, and an update that refuses what is not finite."""

from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from qcrd_jax.models.protocol import Params

Schedule = Literal['linear', 'constant']


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
    """AdamW after clipping by the global norm (`clip_norm` 0: no clipping)."""
    update = optax.adamw(learning_rate, b1=b1, b2=b2, eps=eps, weight_decay=weight_decay)
    if not clip_norm:
        return update
    return optax.chain(optax.clip_by_global_norm(clip_norm), update)


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
    updates, new_opt_state = optimizer.update(gradient, opt_state, params)
    new_params = optax.apply_updates(params, updates)
    new_params, new_opt_state = jax.tree.map(
        lambda new, old: jnp.where(finite, new, old),
        (new_params, new_opt_state),
        (params, opt_state),
    )
    return new_params, new_opt_state, finite.astype(jnp.float32)
