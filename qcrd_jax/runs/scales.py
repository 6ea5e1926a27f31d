"""How large weights are, compared with those that a run started from.

Weights that are not finite, or that have grown beyond all measure, are no student: whoever loads
them would see nonsense without an error.
"""

import jax
import numpy as np

from qcrd_jax.errors import InputError
from qcrd_jax.models.protocol import Params

Scales = dict[str, float]  # tensor -> largest magnitude

_MOST = 1e4  # times the scale of its start that a tensor may have


def of(params: Params) -> Scales:
    """Returns the largest magnitude of every tensor; NaN where one is not a number."""
    return {
        jax.tree_util.keystr(path, simple=True, separator='.'): float(
            np.max(np.abs(np.asarray(leaf, np.float32)), initial=0.0)
        )
        for path, leaf in jax.tree.leaves_with_path(params)
    }


def check(params: Params, start: Scales) -> None:
    """Refuses weights that are not finite, or beyond 1e4 times the scale that they started with.

    A tensor that was all zeros at the start is compared with the largest of the others.

    Args:
      params: of a student that is to be exported.
      start: `of` theta_0.

    Raises:
      InputError: naming the tensor and its largest magnitude.
    """
    largest = max(start.values(), default=0.0)
    for name, scale in of(params).items():
        limit = _MOST * (start.get(name) or largest)
        if not scale <= limit:  # NaN is not, either
            raise InputError(
                f'student: {name} has weights of magnitude {scale:.3g}, expected at most '
                f'{limit:.3g}, {_MOST:.0e} times that of its start: it has diverged and is not '
                'exported. Lower --config.optimizer.learning_rate in another --workdir.'
            )
