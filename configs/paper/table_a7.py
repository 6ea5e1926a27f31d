"""Table A7: training time on SVAMP.

Command: python run.py --config=configs/paper/table_a7.py --workdir=runs/paper --mode=reproduce
Hardware: the paper had one A100-80G.
Score: not yet measured.
"""

from qcrd_jax import grid
from qcrd_jax.config import base_config

ROWS = {
    'Finetune': {'method': 'finetune'},
    'DSS': {'method': 'dss'},
    'MI': {'method': 'mi'},
    'QCRD': {'method': 'qcrd'},
    'QCRD (w/o D)': {'method': 'qcrd', 'discriminator.weigh': False},
}
COLUMNS = {
    'T5-base': {'student.pretrained': 't5-base'},
    'T5-small': {'student.pretrained': 't5-small'},
}
PAPER = {
    'Finetune': [2.0, 1.25],
    'DSS': [4.0, 2.5],
    'MI': [4.2, 2.6],
    'QCRD': [13.0, 8.5],
    'QCRD (w/o D)': [12.0, 7.5],
}


def get_config():
    """Returns the configuration with its grid."""
    config = base_config()
    config.reproduce.name = 'table_a7'
    config.reproduce.title = 'Table A7: training time'
    config.reproduce.caption = (
        "Hours of the student's training steps, without evaluation and the pretraining "
        'of the discriminator. The paper: one A100-80G.'
    )
    config.reproduce.unit = 'hours'
    config.reproduce.higher_is_better = False
    config.reproduce.seeds = (0,)
    config.reproduce.together = 1
    config.reproduce.cells = grid.cells(ROWS, COLUMNS, PAPER, measure='training_hours')
    return config
