"""All methods on SVAMP, from a tiny student that was pretrained on generated word problems.

The last rows are QCRD's parts, and scores of the gold answer. Labels and rationales are of the same
runs; fine-tuning writes none, Single-Task before its label.

Command: python run.py --config=configs/studies/svamp_methods.py --workdir=runs/study
  --mode=reproduce --config.student.pretrained=runs/pretrained/hf
  --config.data.source=<folder in the layout of Distilling step-by-step>
  --config.data.teacher_samples=<JSON lines of raw teacher answers>
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
    'QCRD': {'method': 'qcrd'},
    'MI + QCRD': {'method': 'mi_qcrd'},
    'positives alone (ED)': {
        'method': 'qcrd',
        'negatives.source': 'none',
        'discriminator.weigh': False,
    },
    'QCRD without scores': {'method': 'qcrd', 'discriminator.weigh': False},
    'QCRD, gold scores': {'method': 'qcrd', 'discriminator.scores': 'gold'},
}


def get_config():
    """Returns the configuration with its grid."""
    config = base_config()
    config.data.name = 'svamp'
    config.data.max_rationale_length = 64  # tokens; some of the teachers ramble on
    config.student.pretrained = 'runs/pretrained/hf'
    config.discriminator.pretrain_steps = 200
    config.discriminator.learning_rate = 5e-4
    config.optimizer.learning_rate = 5e-4
    config.optimizer.warmup_steps = 20
    config.train.steps = 300
    config.train.evaluate_every = 100
    config.evaluation.batch_size = 40
    config.evaluation.max_length = 24
    config.evaluation.rationales = ()
    config.evaluation.temperatures = ()
    config.evaluation.examples = 0
    config.reproduce.name = 'svamp_methods'
    config.reproduce.title = 'All methods on SVAMP, from a tiny student'
    config.reproduce.caption = (
        "Of SVAMP's 200 test questions, right labels and right rationales. The paper's numbers are "
        'of T5-base.'
    )
    config.reproduce.baseline = 'DSS'
    config.reproduce.cells = grid.labels_and_rationales(ROWS)
    return config
