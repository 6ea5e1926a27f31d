"""Table 1: the five methods on the four benchmarks, T5-base.

Command: python run.py --config=configs/paper/table1.py --workdir=runs/paper --mode=reproduce
Hardware: the paper had one A100-80G.
Score: not yet measured.
"""

from qcrd_jax import grid
from qcrd_jax.config import base_config

PAPER = {
    'Finetuning': [63.0, 62.19, 43.58, 88.38],
    'Single-Task': [59.0, 63.11, 47.9, 88.77],
    'DSS': [65.5, 63.23, 52.8, 90.09],
    'MI': [67.5, 63.5, 54.2, 90.15],
    'QCRD': [69.0, 63.64, 54.0, 90.26],
}


def get_config():
    """Returns the configuration with its grid."""
    config = base_config()
    config.reproduce.name = 'table1'
    config.reproduce.title = 'Table 1: distillation into T5-base'
    config.reproduce.caption = (
        'The paper: T5-base, 10000 steps of batch 8, test accuracy of one run.'
    )
    config.reproduce.baseline = 'DSS'
    config.reproduce.cells = grid.cells(grid.COMPARED, grid.BENCHMARKS, PAPER)
    return config
