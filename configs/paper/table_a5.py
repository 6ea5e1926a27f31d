"""Table A5: QCRD with MI, with T5-large and with Qwen2.5-0.5B.

Command: python run.py --config=configs/paper/table_a5.py --workdir=runs/paper --mode=reproduce
Hardware: the paper had one A100-80G.
Score: not yet measured.
"""

from qcrd_jax import grid
from qcrd_jax.config import base_config

MODELS = {
    'T5-base, MI': {'method': 'mi', 'student.pretrained': 't5-base'},
    'T5-base, MI + QCRD': {'method': 'mi_qcrd', 'student.pretrained': 't5-base'},
    'T5-large, DSS': {'method': 'dss', 'student.pretrained': 't5-large'},
    'T5-large, QCRD': {'method': 'qcrd', 'student.pretrained': 't5-large'},
}
QWEN = {
    'Qwen2.5-0.5B, DSS': {'method': 'dss', 'student.pretrained': 'Qwen/Qwen2.5-0.5B'},
    'Qwen2.5-0.5B, QCRD': {'method': 'qcrd', 'student.pretrained': 'Qwen/Qwen2.5-0.5B'},
}
COLUMNS = {'SVAMP': {'data.name': 'svamp'}, 'ANLI1': {'data.name': 'anli1'}}
PAPER = {
    'T5-base, MI': [67.5, 54.2],
    'T5-base, MI + QCRD': [70.0, 56.0],
    'T5-large, DSS': [78.0, 53.2],
    'T5-large, QCRD': [80.0, 55.1],
    'Qwen2.5-0.5B, DSS': [72.0],
    'Qwen2.5-0.5B, QCRD': [76.0],
}


def get_config():
    """Returns the configuration with its grid."""
    config = base_config()
    config.reproduce.name = 'table_a5'
    config.reproduce.title = 'Table A5: other baselines and students'
    config.reproduce.caption = 'The paper has Qwen2.5-0.5B only on SVAMP.'
    config.reproduce.cells = (
        *grid.cells(MODELS, COLUMNS, PAPER),
        *grid.cells(QWEN, {'SVAMP': {'data.name': 'svamp'}}, PAPER),
    )
    return config
