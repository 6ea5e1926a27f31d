"""Table 4: positive knowledge (ED), negative knowledge (NK) and the judge (QJ) on SVAMP.

Command: python run.py --config=configs/paper/table4.py --workdir=runs/paper --mode=reproduce
Hardware: the paper had one A100-80G.
Score: not yet measured.
"""

from qcrd_jax import grid
from qcrd_jax.config import base_config

ROWS = {
    'DSS': {'method': 'dss'},
    '+ ED': {'negatives.source': 'none', 'discriminator.weigh': False},
    '+ ED + NK': {'discriminator.weigh': False},
    '+ ED + NK + QJ': {},
}
PAPER = {'DSS': [65.5], '+ ED': [67.0], '+ ED + NK': [68.5], '+ ED + NK + QJ': [69.0]}


def get_config():
    """Returns the configuration with its grid."""
    config = base_config()
    config.reproduce.name = 'table4'
    config.reproduce.title = 'Table 4: ablation'
    config.reproduce.caption = (
        'ED: several positives, told by self-consistency, of which the easiest is '
        'learned; NK: sampled negatives; QJ: weights of the discriminator.'
    )
    config.reproduce.baseline = 'DSS'
    config.reproduce.cells = grid.cells(ROWS, {'SVAMP': {}}, PAPER)
    return config
