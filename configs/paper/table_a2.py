"""Table A2: how good the teacher's rationales are.

Command: python run.py --config=configs/paper/table_a2.py --workdir=runs/paper --mode=reproduce
Hardware: any.
Score: not yet measured.
"""

from qcrd_jax import grid
from qcrd_jax.config import base_config

MEASURES = {
    'right samples per question': 'right_per_question',
    'only right': 'only_positive',
    'only wrong': 'only_negative',
}
PAPER = {
    'right samples per question': [3.87, 3.89, 3.93, 3.31],
    'only right': [0.55, 0.68, 0.66, 0.5],
    'only wrong': [0.08, 0.13, 0.11, 0.2],
}


def get_config():
    """Returns the configuration with its grid."""
    config = base_config()
    config.reproduce.name = 'table_a2'
    config.reproduce.title = 'Table A2: rationales of the teacher'
    config.reproduce.caption = (
        'Of the first K samples of every training question: how many state the gold '
        'answer, and the share of questions of which all do, or none. The paper: five '
        'samples of GPT-3.5-turbo.'
    )
    config.reproduce.unit = 'samples, or share of questions'
    config.reproduce.cells = tuple(
        cell
        for row, measure in MEASURES.items()
        for cell in grid.cells({row: {}}, grid.BENCHMARKS, PAPER, measure=measure)
    )
    return config
