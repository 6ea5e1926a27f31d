"""Table A1: the sizes of the four benchmarks.

Command: python run.py --config=configs/paper/table_a1.py --workdir=runs/paper --mode=reproduce
Hardware: any.
Score: 720/80/200 for SVAMP and 8766/975/1221 for CQA.
"""

from qcrd_jax import grid
from qcrd_jax.config import base_config

PAPER = {
    'train': [720, 8766, 16946, 549367],
    'validation': [80, 975, 1000, 9842],
    'test': [200, 1221, 1000, 9824],
}


def _sizes():
    for split, sizes in PAPER.items():
        for (dataset, data), size in zip(grid.BENCHMARKS.items(), sizes, strict=True):
            yield {
                'row': dataset,
                'column': split,
                'paper': float(size),
                'overrides': data,
                'measure': 'questions',
                'split': split,
            }


def get_config():
    """Returns the configuration with its grid."""
    config = base_config()
    config.reproduce.name = 'table_a1'
    config.reproduce.title = 'Table A1: sizes of the benchmarks'
    config.reproduce.caption = 'Questions of every split; nothing is trained.'
    config.reproduce.unit = 'questions'
    config.reproduce.cells = tuple(_sizes())
    return config
