"""Questions and teacher answers: reading, judging, generating, tokenising, batching."""

from typing import TYPE_CHECKING

from qcrd_jax import lazy

if TYPE_CHECKING:
    from qcrd_jax.data.answers import answers_match, canonical
    from qcrd_jax.data.batches import collate, evaluation_batches, training_batches
    from qcrd_jax.data.encoded import Encoded
    from qcrd_jax.data.encoding import Encoding, encode
    from qcrd_jax.data.lengths import Lengths, measure_lengths
    from qcrd_jax.data.schema import AnswerType, Example, TeacherSample
    from qcrd_jax.data.self_consistency import majority, split_samples
    from qcrd_jax.data.teacher_output import parse_answer
    from qcrd_jax.data.tokenizer import load_tokenizer, train_tokenizer

__all__ = [
    'AnswerType',
    'Encoded',
    'Encoding',
    'Example',
    'Lengths',
    'TeacherSample',
    'answers_match',
    'canonical',
    'collate',
    'encode',
    'evaluation_batches',
    'load_tokenizer',
    'majority',
    'measure_lengths',
    'parse_answer',
    'split_samples',
    'train_tokenizer',
    'training_batches',
]

__getattr__ = lazy.names(
    __name__,
    {
        'AnswerType': 'schema',
        'Encoded': 'encoded',
        'Encoding': 'encoding',
        'Example': 'schema',
        'Lengths': 'lengths',
        'TeacherSample': 'schema',
        'answers_match': 'answers',
        'canonical': 'answers',
        'collate': 'batches',
        'encode': 'encoding',
        'evaluation_batches': 'batches',
        'load_tokenizer': 'tokenizer',
        'majority': 'self_consistency',
        'measure_lengths': 'lengths',
        'parse_answer': 'teacher_output',
        'split_samples': 'self_consistency',
        'train_tokenizer': 'tokenizer',
        'training_batches': 'batches',
    },
)
