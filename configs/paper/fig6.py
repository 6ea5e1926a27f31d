"""Figure 6: how the discriminator scores teacher and student, T5-base on SVAMP.

Command: python run.py --config=configs/paper/fig6.py --workdir=runs/paper --mode=reproduce
Hardware: the paper had one A100-80G.
Score: not yet measured. In the paper positives score around 0.95.
"""

from qcrd_jax import grid
from qcrd_jax.config import base_config


def get_config():
    """Returns the configuration with its grid."""
    config = base_config()
    config.reproduce.name = 'fig6'
    config.reproduce.title = 'Figure 6: scores of rationales'
    config.reproduce.caption = 'The accuracy of the student whose samples are scored.'
    config.reproduce.seeds = (0,)
    config.reproduce.panel = 'scores'
    config.reproduce.cells = grid.cells({'QCRD': {}}, {'SVAMP': {}}, {'QCRD': [69.0]})
    return config
