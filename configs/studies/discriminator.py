"""Why a discriminator of few questions tells little: ROC-AUC by training size, and what helps.

Its pretraining alone: the student takes one step. The AUC is that on test questions, of the
teacher's own positives against its negatives (corrupted ones are easier to tell). Numbers go up to
9, whose results the encoder of the pretrained student knows, but in the row that says otherwise.

Command: python run.py --config=configs/studies/discriminator.py --workdir=runs/study
  --mode=reproduce, with the two pretrained students of docs/results.md in runs
Hardware: 2 CPU cores.
Score: docs/results.md.
"""

import pathlib

from qcrd_jax import grid

ROWS = {
    'as it is': {},
    'ten times slower': {'discriminator.learning_rate': 5e-5},
    'loss bce': {'loss.discriminator': 'bce'},
    'loss info_nce': {'loss.discriminator': 'info_nce'},
    'frozen encoder': {'discriminator.frozen': True, 'discriminator.learning_rate': 5e-3},
    'no corruptions': {'data.augment': False},
    'numbers up to 99': {
        'data.mwp.max_number': 99,
        'student.pretrained': 'runs/pretrained/hf',
    },
    'random encoder': {'discriminator.pretrained': '', 'discriminator.size': 'tiny'},
}
SIZES = (200, 1000, 4000, 16000)


def get_config():
    """Returns the configuration with its grid."""
    config = grid.config_file(pathlib.Path(__file__).with_name('mwp_methods.py')).few_problems()
    config.data.mwp.train = SIZES[-1]
    config.discriminator.pretrain_steps = 600
    config.train.steps = 1
    config.train.evaluate_every = 1
    config.optimizer.warmup_steps = 0
    config.reproduce.seeds = (0, 1, 2)
    config.reproduce.name = 'discriminator'
    config.reproduce.title = 'What a discriminator learns of few questions'
    config.reproduce.caption = (
        "ROC-AUC of the teacher's positives against its negatives, on 2000 test problems, by the "
        'number of training problems; 600 steps of 8 questions.'
    )
    config.reproduce.unit = 'ROC-AUC, %'
    config.reproduce.baseline = ''
    columns = {str(size): {'data.fraction': size / SIZES[-1]} for size in SIZES}
    config.reproduce.cells = grid.cells(ROWS, columns, measure='discriminator_auc_test')
    return config
