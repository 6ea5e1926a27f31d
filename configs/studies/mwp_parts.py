"""Which part of QCRD helps on few generated word problems: positives, negatives, scheme, scores.

Every row changes one thing of QCRD without scores, which need a discriminator's pretraining and
were not seen to help (docs/results.md); the last rows are with them.

Command: python run.py --config=configs/studies/mwp_parts.py --workdir=runs/study --mode=reproduce,
  with the pretrained student of configs/studies/mwp_methods.py in runs
Hardware: 2 CPU cores.
Score: docs/results.md.
"""

import pathlib

from qcrd_jax import grid

SCORED = {'discriminator.weigh': True, 'discriminator.pretrain_steps': 600}
ROWS = {
    'QCRD without scores': {},
    'DSS': {'method': 'dss'},
    'positives alone (ED)': {'negatives.source': 'none'},
    'negatives alone (NK)': {'data.positives': 'first'},
    'positives by the gold answer': {'data.positives': 'gold'},
    "the teacher's negatives (SC)": {'negatives.source': 'self_consistency'},
    'negatives at temperature 0.7': {'negatives.temperature': 0.7},
    'scheme MaxMin': {'loss.scheme': 'max_min'},
    'scheme Mean': {'loss.scheme': 'mean'},
    'margin 1': {'loss.margin': 1.0},
    'margin 6': {'loss.margin': 6.0},
    'beta 1': {'loss.beta': 1.0},
    'QCRD': SCORED,
    'QCRD without negatives (ED, QJ)': {**SCORED, 'negatives.source': 'none'},
    'QCRD, scheme W-mean': {**SCORED, 'loss.scheme': 'weighted_mean'},
}


def get_config():
    """Returns the configuration with its grid."""
    config = grid.config_file(pathlib.Path(__file__).with_name('mwp_methods.py')).few_problems()
    config.data.fraction = 0.2
    config.discriminator.weigh = False
    config.reproduce.name = 'mwp_parts'
    config.reproduce.title = 'The parts of QCRD on 200 generated word problems'
    config.reproduce.caption = (
        'Of 2000 generated test problems, right labels and right rationales; one change a row.'
    )
    config.reproduce.baseline = 'QCRD without scores'
    config.reproduce.cells = grid.labels_and_rationales(ROWS)
    return config
