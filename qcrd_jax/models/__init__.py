"""Students behind one protocol, and the discriminator."""

from qcrd_jax.models.decoder.config import DecoderConfig, RopeScaling
from qcrd_jax.models.decoder.student import DecoderContext, DecoderEncoder, DecoderStudent
from qcrd_jax.models.discriminator import Discriminator, join
from qcrd_jax.models.protocol import Cache, Context, Encoder, Params, Student, parameter_count
from qcrd_jax.models.t5.config import T5Config
from qcrd_jax.models.t5.student import T5Context, T5Encoder, T5Student

__all__ = [
    'Cache',
    'Context',
    'DecoderConfig',
    'DecoderContext',
    'DecoderEncoder',
    'DecoderStudent',
    'Discriminator',
    'Encoder',
    'Params',
    'RopeScaling',
    'Student',
    'T5Config',
    'T5Context',
    'T5Encoder',
    'T5Student',
    'join',
    'parameter_count',
]
