"""QCRD's rivals on its own pairs: few generated word problems, labels and rationales.

Every cell of the second column is of the same runs as the first: how many rationales arrive at the
gold answer, beside how many labels are right. Numbers go up to 9, so that a tiny student can know
their results; it was pretrained on such numbers in other stories.

Command: python run.py --config=configs/pretrain.py --workdir=runs/pretrained9
  --config.data.mwp.max_number=9 --config.student.tokenizer=<that of docs/results.md>, then
  python run.py --config=configs/studies/rivals.py --workdir=runs/study --mode=reproduce
Hardware: 2 CPU cores.
Score: docs/results.md.
"""

import pathlib

from qcrd_jax import grid

ROWS = {
    'DSS': {'method': 'dss'},
    'positives alone (ED)': {
        'method': 'qcrd',
        'negatives.source': 'none',
        'discriminator.weigh': False,
    },
    'QCRD without scores': {'method': 'qcrd', 'discriminator.weigh': False},
    'QCRD': {'method': 'qcrd', 'discriminator.pretrain_steps': 600},
    'QCRD, gold scores': {'method': 'qcrd', 'discriminator.scores': 'gold'},
    'REDI': {'method': 'redi'},
    'Unlikelihood': {'method': 'unlikelihood'},
    'ORPO': {'method': 'orpo'},
    'SimPO': {'method': 'simpo'},
    'SPIN': {'method': 'spin'},
    'KTO': {'method': 'kto'},
    'AdvDistill': {'method': 'advdistill'},
}


def get_config():
    """Returns the configuration with its grid."""
    config = grid.config_file(pathlib.Path(__file__).with_name('mwp_methods.py')).few_problems()
    config.data.fraction = 0.2
    config.reproduce.name = 'rivals'
    config.reproduce.title = 'QCRD and its rivals on 200 generated word problems'
    config.reproduce.caption = (
        'Of 2000 generated test problems, right labels and right rationales; the teacher slips in '
        '27 % of its answers.'
    )
    config.reproduce.baseline = 'DSS'
    config.reproduce.cells = grid.labels_and_rationales(ROWS)
    return config
