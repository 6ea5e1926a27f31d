"""A tiny student pretrained on generated word problems of many stories, to start from.

Problems of one step: stories 5 to 16 of every operation, numbers up to 99, each one piece of the
tokenizer; the teacher never slips. What is trained from here on is measured on stories 1 to 4,
which this student has never seen.

Command: python run.py --config=configs/pretrain.py --workdir=runs/pretrained
  and then --config.student.pretrained=runs/pretrained/hf; name a tokenizer that knows the words of
  the questions to come by --config.student.tokenizer (docs/results.md has one made of SVAMP).
Hardware: 2 CPU cores.
Score: 0.860 of 500 new problems of the same stories (95 % interval 0.827 to 0.888), with the
  tokenizer of docs/results.md; 6 minutes of training.
"""

from qcrd_jax.config import base_config


def get_config():
    """Returns the configuration of the pretraining."""
    config = base_config()
    config.method = 'dss'
    config.data.name = 'mwp'
    config.data.length_bucket = 4
    config.data.mwp.train = 20000
    config.data.mwp.two_step = 0.0
    config.data.mwp.seed = 1  # apart from the problems that are trained on later
    config.data.mwp.first_story = 4
    config.data.mwp.stories = 12
    config.data.mwp.teacher_temperature = 0.0
    config.data.samples = 1
    config.student.size = 'tiny'
    config.student.pretrained = ''
    config.student.split_digits = False
    config.student.dropout = 0.0
    config.optimizer.learning_rate = 2e-3
    config.optimizer.warmup_steps = 200
    config.train.steps = 2000
    config.train.batch_size = 32
    config.train.evaluate_every = 500
    config.evaluation.batch_size = 100
    return config
