"""Table A6: the temperature of the sampled negatives, on SVAMP.

Command: python run.py --config=configs/paper/table_a6.py --workdir=runs/paper --mode=reproduce
Hardware: the paper had one A100-80G.
Score: not yet measured.
"""

from qcrd_jax import grid
from qcrd_jax.config import base_config

ROWS = {
    '0': {'negatives.temperature': 0.0},
    '0.7': {'negatives.temperature': 0.7},
    '1.5': {'negatives.temperature': 1.5},
    '2': {'negatives.temperature': 2.0},
}
PAPER = {'0': [65.0], '0.7': [64.5], '1.5': [69.0], '2': [67.5]}


def get_config():
    """Returns the configuration with its grid."""
    config = base_config()
    config.reproduce.name = 'table_a6'
    config.reproduce.title = 'Table A6: temperature of the negatives'
    config.reproduce.caption = 'The paper: T5-base on SVAMP.'
    config.reproduce.baseline = '1.5'
    config.reproduce.cells = grid.cells(ROWS, {'SVAMP': {}}, PAPER)
    return config
