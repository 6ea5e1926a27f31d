"""Table 6: how many positives (m) and negatives (k) on SVAMP.

Command: python run.py --config=configs/paper/table6.py --workdir=runs/paper --mode=reproduce
Hardware: the paper had one A100-80G.
Score: not yet measured.
"""

from qcrd_jax import grid
from qcrd_jax.config import base_config

ROWS = {
    'm = 1': {'data.samples': 1},
    'm = 5': {'data.samples': 5},
    'm = 10': {'data.samples': 10},
    'm = 20': {'data.samples': 20},
    'k = 0': {'negatives.source': 'none'},
    'k = 1': {'negatives.count': 1},
    'k = 2': {'negatives.count': 2},
    'k = 3': {'negatives.count': 3},
}
PAPER = {
    'm = 1': [67.5],
    'm = 5': [69.0],
    'm = 10': [68.0],
    'm = 20': [68.5],
    'k = 0': [67.0],
    'k = 1': [69.0],
    'k = 2': [68.5],
    'k = 3': [66.0],
}


def get_config():
    """Returns the configuration with its grid."""
    config = base_config()
    config.reproduce.name = 'table6'
    config.reproduce.title = 'Table 6: sampling counts'
    config.reproduce.caption = (
        'm answers of the LLM (m = 10 and 20 need so many samples of the teacher), k = '
        '1; and k sampled negatives, m = 5. The paper: T5-base on SVAMP.'
    )
    config.reproduce.baseline = 'm = 5'
    config.reproduce.cells = grid.cells(ROWS, {'SVAMP': {}}, PAPER)
    return config
