"""The run that `make soak` disturbs: every phase of a QCRD run, in seconds.

Command: make soak
Hardware: CPU.
Score: of no interest; that validation chooses an early student is.
"""

from ml_collections import config_dict

from qcrd_jax.config import base_config

LAST_STEP = 24


def get_config() -> config_dict.ConfigDict:
    """Returns a configuration that logs, validates and saves as often as it can."""
    config = base_config()
    config.data.name = 'mwp'
    config.data.samples = 2
    config.data.length_bucket = 16  # few shapes, few compilations
    mwp = config.data.mwp
    mwp.train, mwp.validation, mwp.test = 48, 16, 16
    mwp.max_number, mwp.two_step, mwp.distractors = 9, 0.0, 0.0
    mwp.operations, mwp.stories = '+', 1
    config.student.size = 'tiny'
    config.student.pretrained = ''
    config.student.vocab_size = 200
    config.discriminator.pretrain_steps = 20
    config.discriminator.batch_size = 4
    config.discriminator.learning_rate = 1e-3
    config.discriminator.update_every = 4
    config.negatives.lag = 2
    config.optimizer.learning_rate = 1e-2
    config.train.steps = LAST_STEP
    config.train.batch_size = 8
    config.train.log_every = 3  # so that windows, validations and checkpoints do not coincide
    config.train.evaluate_every = 8
    config.train.checkpoint_every = 4
    config.train.checkpoint_minutes = 0.0
    config.evaluation.batch_size = 16
    config.evaluation.max_length = 8
    config.evaluation.examples = 2
    config.evaluation.temperatures = (1.5,)
    config.evaluation.rationales = ()
    config.evaluation.case_temperatures = (0.0,)
    return config
