"""e-SNLI with T5-base (section 4.1, Table 1).

Command: python run.py --config=configs/esnli.py --config.student.pretrained=<folder of t5-base>
Hardware: the paper had one A100-80G.
Score: 90.26 in the paper (Table 1); not yet measured here.

The data comes from where Distilling step-by-step released it; with no network, or with answers of
your own, see docs/datasets.md.
"""

from qcrd_jax.config import base_config


def get_config():
    """Returns the base configuration with this dataset."""
    config = base_config()
    config.data.name = 'esnli'
    return config
