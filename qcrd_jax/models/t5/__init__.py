"""T5 v1.0, v1.1 and Flan."""

from qcrd_jax.models.t5.config import VERSIONS, T5Config
from qcrd_jax.models.t5.student import T5Context, T5Encoder, T5Student

__all__ = ['VERSIONS', 'T5Config', 'T5Context', 'T5Encoder', 'T5Student']
