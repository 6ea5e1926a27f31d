"""Table 5: the many-to-one schemes on SVAMP.

Command: python run.py --config=configs/paper/table5.py --workdir=runs/paper --mode=reproduce
Hardware: the paper had one A100-80G.
Score: not yet measured.
"""

from qcrd_jax import grid
from qcrd_jax.config import base_config

ROWS = {
    'MinMax': {'loss.scheme': 'min_max'},
    'MaxMin': {'loss.scheme': 'max_min'},
    'Sampling': {'loss.scheme': 'sampling'},
    'Mean': {'loss.scheme': 'mean'},
    'W-mean': {'loss.scheme': 'weighted_mean'},
}
PAPER = {'MinMax': [69.0], 'MaxMin': [67.0], 'Sampling': [66.5], 'Mean': [65.0], 'W-mean': [66.0]}


def get_config():
    """Returns the configuration with its grid."""
    config = base_config()
    config.reproduce.name = 'table5'
    config.reproduce.title = 'Table 5: schemes of the contrastive loss'
    config.reproduce.caption = 'The paper: T5-base on SVAMP.'
    config.reproduce.baseline = 'MinMax'
    config.reproduce.cells = grid.cells(ROWS, {'SVAMP': {}}, PAPER)
    return config
