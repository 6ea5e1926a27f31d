"""Questions as records of a file, and what is read of such a file."""

from qcrd_jax.data.sources.raw_samples import QuestionFile


def question(name, **fields):
    return {'id': name, 'input': f'{name}?', 'label': '1', **fields}


def read(path, answer_type='equation', **options):
    splits = QuestionFile(path, answer_type, **options).splits()
    return {split: list(examples) for split, examples in splits.items()}
