"""Figure 5: rationales of the QCRD student at several temperatures, T5-base on SVAMP.

Command: python run.py --config=configs/paper/fig5.py --workdir=runs/paper --mode=reproduce
Hardware: the paper had one A100-80G.
Score: not yet measured. The rationales are in the report, wrong details marked.
"""

from qcrd_jax import grid
from qcrd_jax.config import base_config


def get_config():
    """Returns the configuration with its grid."""
    config = base_config()
    config.reproduce.name = 'fig5'
    config.reproduce.title = 'Figure 5: rationales at several temperatures'
    config.reproduce.caption = 'The accuracy of the student whose rationales are shown.'
    config.reproduce.seeds = (0,)
    config.reproduce.panel = 'case_study'
    config.reproduce.cells = grid.cells({'QCRD': {}}, {'SVAMP': {}}, {'QCRD': [69.0]})
    return config
