"""Table 2: the five methods on the four benchmarks, T5-small.

Command: python run.py --config=configs/paper/table2.py --workdir=runs/paper --mode=reproduce
Hardware: the paper had one A100-80G.
Score: not yet measured.
"""

from qcrd_jax import grid
from qcrd_jax.config import base_config

PAPER = {
    'Finetuning': [45.0, 43.16, 42.0, 82.9],
    'Single-Task': [46.5, 44.98, 42.5, 83.67],
    'DSS': [48.0, 45.21, 42.8, 84.23],
    'MI': [47.0, 45.49, 42.1, 83.55],
    'QCRD': [50.5, 46.11, 44.1, 85.3],
}


def get_config():
    """Returns the configuration with its grid."""
    config = base_config()
    config.reproduce.name = 'table2'
    config.reproduce.title = 'Table 2: distillation into T5-small'
    config.reproduce.caption = (
        'The paper: T5-small, 10000 steps of batch 8, test accuracy of one run.'
    )
    config.reproduce.baseline = 'DSS'
    config.student.pretrained = 't5-small'
    config.reproduce.cells = grid.cells(grid.COMPARED, grid.BENCHMARKS, PAPER)
    return config
