"""Which part of QCRD helps on few generated word problems: scores, negatives, scheme, margin.

Command: python run.py --config=configs/studies/mwp_parts.py --workdir=runs/study
  --mode=reproduce --config.student.pretrained=runs/pretrained/hf
Hardware: 2 CPU cores.
Score: docs/results.md.
"""

import pathlib

from qcrd_jax import grid

ROWS = {
    'QCRD': {},
    'DSS': {'method': 'dss'},
    'first answer only (no ED)': {'data.positives': 'first'},
    'positives by the gold answer': {'data.positives': 'gold'},
    'no negatives (no NK)': {'negatives.source': 'none'},
    'no scores (no QJ)': {'discriminator.weigh': False},
    'positives alone (ED)': {'negatives.source': 'none', 'discriminator.weigh': False},
    "the teacher's negatives (SC)": {'negatives.source': 'self_consistency'},
    'negatives at temperature 0.7': {'negatives.temperature': 0.7},
    'scheme MaxMin': {'loss.scheme': 'max_min'},
    'scheme Mean': {'loss.scheme': 'mean'},
    'scheme W-mean': {'loss.scheme': 'weighted_mean'},
    'margin 1': {'loss.margin': 1.0},
    'margin 6': {'loss.margin': 6.0},
    'beta 1': {'loss.beta': 1.0},
}


def get_config():
    """Returns the configuration with its grid."""
    config = grid.config_file(pathlib.Path(__file__).with_name('mwp_methods.py')).few_problems()
    config.data.fraction = 0.2
    config.reproduce.name = 'mwp_parts'
    config.reproduce.title = 'The parts of QCRD on 200 generated word problems'
    config.reproduce.caption = 'Test accuracy on 2000 generated problems; one change a row.'
    config.reproduce.baseline = 'QCRD'
    config.reproduce.cells = grid.cells(ROWS, {'200 problems': {}})
    return config
