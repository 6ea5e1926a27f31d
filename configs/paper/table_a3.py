"""Table A3: where the negatives come from, on SVAMP.

Command: python run.py --config=configs/paper/table_a3.py --workdir=runs/paper --mode=reproduce
Hardware: the paper had one A100-80G.
Score: not yet measured.
"""

from qcrd_jax import grid
from qcrd_jax.config import base_config

ROWS = {
    'j = 3': {'negatives.lag': 3},
    'j = 5': {'negatives.lag': 5},
    'j = 10': {'negatives.lag': 10},
    'Fixed': {'negatives.source': 'fixed'},
    'SC': {'negatives.source': 'self_consistency'},
}
PAPER = {'j = 3': [68.0], 'j = 5': [69.0], 'j = 10': [68.5], 'Fixed': [66.5], 'SC': [64.5]}


def _cells():
    yield from grid.cells({'DSS': {'method': 'dss'}}, {'SVAMP': {}}, hidden=True)
    for cell in grid.cells(ROWS, {'SVAMP': {}}, PAPER):
        yield cell | ({'needs': {'negatives.fixed': 'DSS'}} if cell['row'] == 'Fixed' else {})


def get_config():
    """Returns the configuration with its grid."""
    config = base_config()
    config.reproduce.name = 'table_a3'
    config.reproduce.title = 'Table A3: sources of the negatives'
    config.reproduce.caption = (
        'The student of j iterations before, a fixed student (trained by DSS), or the '
        'negatives that self-consistency finds among the answers of the LLM. The paper:'
        ' T5-base on SVAMP.'
    )
    config.reproduce.baseline = 'j = 5'
    config.reproduce.cells = tuple(_cells())
    return config
