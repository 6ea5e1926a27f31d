"""Students behind one protocol, and the discriminator."""

from qcrd_jax.models.discriminator import Discriminator, join
from qcrd_jax.models.protocol import Cache, Context, Encoder, Params, Student, parameter_count
from qcrd_jax.models.qwen2 import Qwen2Context, Qwen2Encoder, Qwen2Student
from qcrd_jax.models.qwen2_config import Qwen2Config
from qcrd_jax.models.t5 import T5Context, T5Encoder, T5Student
from qcrd_jax.models.t5_config import T5Config

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
