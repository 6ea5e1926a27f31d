"""Students behind one protocol, the discriminator, and Hugging Face folders in and out."""

from typing import TYPE_CHECKING

from qcrd_jax import lazy
from qcrd_jax.models.decoder.config import DecoderConfig, RopeScaling
from qcrd_jax.models.decoder.student import DecoderContext, DecoderEncoder, DecoderStudent
from qcrd_jax.models.discriminator import Discriminator, join
from qcrd_jax.models.lora import LoraStudent, merge_adapters
from qcrd_jax.models.protocol import Cache, Context, Encoder, Params, Student, parameter_count
from qcrd_jax.models.t5.config import T5Config
from qcrd_jax.models.t5.student import T5Context, T5Encoder, T5Student

if TYPE_CHECKING:
    from qcrd_jax.models.architectures import encoder_for, named, random_architecture, student_for
    from qcrd_jax.models.huggingface import load_encoder, load_student, save_student

__all__ = [
    'Cache',
    'Context',
    'DecoderConfig',
    'DecoderContext',
    'DecoderEncoder',
    'DecoderStudent',
    'Discriminator',
    'Encoder',
    'LoraStudent',
    'Params',
    'RopeScaling',
    'Student',
    'T5Config',
    'T5Context',
    'T5Encoder',
    'T5Student',
    'encoder_for',
    'join',
    'load_encoder',
    'load_student',
    'merge_adapters',
    'named',
    'parameter_count',
    'random_architecture',
    'save_student',
    'student_for',
]

__getattr__ = lazy.names(
    __name__,
    {
        'encoder_for': 'architectures',
        'load_encoder': 'huggingface',
        'load_student': 'huggingface',
        'named': 'architectures',
        'random_architecture': 'architectures',
        'save_student': 'huggingface',
        'student_for': 'architectures',
    },
)
