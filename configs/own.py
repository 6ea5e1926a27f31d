"""Questions of one's own, and a small student that starts from random weights or any checkpoint.

Command: qcrd --config=own --config.data.source=<JSON lines of id, input, label> --mode=annotate,
  then without --mode and with --config.data.teacher_samples=<workdir>/annotations.jsonl;
  examples/own_questions.sh does all of it.
Hardware: 2 CPU cores for a tiny student; a GPU for a pretrained one.
Score: depends on the questions.
"""

from qcrd_jax.config import base_config


def get_config():
    """Returns the base configuration for a dataset of one's own."""
    config = base_config()
    config.data.name = 'custom'
    config.student.update(pretrained='', size='tiny', dropout=0.0)
    config.discriminator.pretrain_steps = 300
    config.discriminator.learning_rate = (
        1e-3  # a tiny one from random weights learns nothing at 5e-5
    )
    config.optimizer.learning_rate = 2e-3
    config.train.batch_size = 32
    config.train.epochs = 20.0
    config.train.evaluate_every = 50
    config.train.patience = 5
    return config
