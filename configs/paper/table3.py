"""Table 3: training on the labels of the LLM, T5-base.

Command: python run.py --config=configs/paper/table3.py --workdir=runs/paper --mode=reproduce
Hardware: the paper had one A100-80G.
Score: not yet measured.
"""

from qcrd_jax import grid
from qcrd_jax.config import base_config

ROWS = {
    'DSS': {'method': 'dss', 'data.labels': 'teacher'},
    'MI': {'method': 'mi', 'data.labels': 'teacher'},
    'QCRD': {'method': 'qcrd', 'data.labels': 'self_consistency'},
}
COLUMNS = {
    'CQA': {'data.name': 'cqa'},
    'ANLI1': {'data.name': 'anli1'},
    'ESNLI': {'data.name': 'esnli'},
}
PAPER = {
    'DSS': [59.15, 44.1, 74.88],
    'MI': [59.22, 45.9, 74.67],
    'QCRD': [59.8, 46.7, 74.88],
}
VOTE = 'LLM with self-consistency'
LLM = {'LLM': [66.3, 78.21, 66.27], VOTE: [69.05, 80.15, 67.08]}


def get_config():
    """Returns the configuration with its grid."""
    config = base_config()
    config.reproduce.name = 'table3'
    config.reproduce.title = 'Table 3: distillation with the labels of the LLM'
    config.reproduce.caption = (
        'The paper: T5-base; the LLM is GPT-3.5-turbo, whose accuracy is measured on '
        'the test questions that have answers of it.'
    )
    config.reproduce.baseline = 'DSS'
    config.reproduce.cells = (
        *grid.cells({'LLM': {}}, COLUMNS, LLM, measure='sample_accuracy', split='test'),
        *grid.cells({VOTE: {}}, COLUMNS, LLM, measure='vote_accuracy', split='test'),
        *grid.cells(ROWS, COLUMNS, PAPER),
    )
    return config
