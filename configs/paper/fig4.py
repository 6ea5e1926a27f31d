"""Figure 4: fine-tuning and QCRD on a part of the training questions, T5-base.

Command: python run.py --config=configs/paper/fig4.py --workdir=runs/paper --mode=reproduce
Hardware: the paper had one A100-80G.
Score: not yet measured.
"""

from qcrd_jax import grid
from qcrd_jax.config import base_config

METHODS = {'Finetuning': {'method': 'finetune'}, 'QCRD': {'method': 'qcrd'}}
SIZES = {'12.5': 0.125, '25': 0.25, '50': 0.5, '75': 0.75, '100': 1.0}
ROWS = {
    f'{dataset}, {method}': {**data, **settings}
    for dataset, data in grid.BENCHMARKS.items()
    for method, settings in METHODS.items()
}
COLUMNS = {name: {'data.fraction': fraction} for name, fraction in SIZES.items()}


def get_config():
    """Returns the configuration with its grid."""
    config = base_config()
    config.reproduce.name = 'fig4'
    config.reproduce.title = 'Figure 4: size of the training set'
    config.reproduce.caption = (
        'Share of the training questions, in percent. The paper prints no numbers in its figure.'
    )
    config.reproduce.kind = 'curve'
    config.reproduce.cells = grid.cells(ROWS, COLUMNS, None)
    return config
