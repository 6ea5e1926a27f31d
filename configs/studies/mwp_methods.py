"""All methods on few generated word problems with a noisy teacher, from a pretrained tiny student.

The student of configs/pretrain.py has never seen these stories (1 to 4 of every operation). Numbers
go up to 9, so that it can know their results. The teacher slips in 27 % of its answers. Labels and
rationales are of the same runs; fine-tuning writes none, Single-Task before its label.

Command: python run.py --config=configs/pretrain.py --workdir=runs/pretrained9
  --config.data.mwp.max_number=9 --config.student.tokenizer=<that of docs/results.md>, then
  python run.py --config=configs/studies/mwp_methods.py --workdir=runs/study --mode=reproduce
Hardware: 2 CPU cores.
Score: docs/results.md.
"""

from qcrd_jax import grid
from qcrd_jax.config import base_config

ROWS = {
    'Finetuning': {'method': 'finetune'},
    'Single-Task': {'method': 'single_task'},
    'DSS': {'method': 'dss'},
    'MI': {'method': 'mi'},
    'QCRD without scores': {'method': 'qcrd', 'discriminator.weigh': False},
    'QCRD': {'method': 'qcrd', 'discriminator.pretrain_steps': 600},
    'MI + QCRD': {'method': 'mi_qcrd', 'discriminator.pretrain_steps': 600},
}
SIZES = {'200': {'data.fraction': 0.2}, '1000': {'data.fraction': 1.0}}


def get_config():
    """Returns the configuration with its grid."""
    config = few_problems()
    config.reproduce.name = 'mwp_methods'
    config.reproduce.title = 'All methods on few generated word problems'
    config.reproduce.caption = (
        'Of 2000 generated test problems, right labels and right rationales, by the number of '
        'training problems; the teacher slips in 27 % of its answers.'
    )
    config.reproduce.baseline = 'DSS'
    config.reproduce.cells = grid.labels_and_rationales(ROWS, SIZES)
    return config


def few_problems():
    """Returns the setting that the studies on generated problems share."""
    config = base_config()
    config.data.name = 'mwp'
    config.data.length_bucket = 4
    config.data.mwp.train = 1000
    config.data.mwp.test = 2000
    config.data.mwp.max_number = 9
    config.data.mwp.two_step = 0.0
    config.data.mwp.teacher_temperature = 1.0
    config.student.pretrained = 'runs/pretrained9/hf'
    config.discriminator.pretrain_steps = 300
    config.discriminator.learning_rate = 5e-4
    config.discriminator.online_learning_rate = 5e-5
    config.optimizer.learning_rate = 5e-4
    config.optimizer.warmup_steps = 20
    config.train.steps = 300
    config.train.evaluate_every = 100
    config.evaluation.batch_size = 100
    config.evaluation.rationales = ()
    config.evaluation.temperatures = ()
    config.evaluation.examples = 0
    return config
