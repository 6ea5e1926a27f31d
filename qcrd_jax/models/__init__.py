"""Students behind one protocol, and the discriminator."""

from qcrd_jax.models.decoder.config import Qwen2Config
from qcrd_jax.models.decoder.student import Qwen2Context, Qwen2Encoder, Qwen2Student
from qcrd_jax.models.discriminator import Discriminator, join
from qcrd_jax.models.protocol import Cache, Context, Encoder, Params, Student, parameter_count
from qcrd_jax.models.t5.config import T5Config
from qcrd_jax.models.t5.student import T5Context, T5Encoder, T5Student

__all__ = [
    'Cache',
    'Context',
    'Discriminator',
    'Encoder',
    'Params',
    'Qwen2Config',
    'Qwen2Context',
    'Qwen2Encoder',
    'Qwen2Student',
    'Student',
    'T5Config',
    'T5Context',
    'T5Encoder',
    'T5Student',
    'join',
    'parameter_count',
]
