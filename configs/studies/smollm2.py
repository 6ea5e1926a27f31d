"""A real student on real SVAMP: the parts of QCRD, their settings, its rivals; labels, rationales.

SmolLM2-135M-Instruct (`make smollm2`). Rows of Tables 4, A3 and A6, whose scores and temperatures
are the paper's. The columns are of the same runs.

Command: make study-gpu STUDY=smollm2 ARGS='--config.data.source=<folder in the layout of Distilling
  step-by-step> --config.data.teacher_samples=<JSON lines of raw teacher answers>', again and again
  until nothing is missing
Hardware: one GPU, in parts of under 9 minutes.
Score: not yet measured.
"""

import pathlib

from qcrd_jax import grid

PARTS = {
    'Finetuning': {'method': 'finetune'},
    'DSS': {'method': 'dss'},
    '+ ED': {'negatives.source': 'none', 'discriminator.weigh': False},
    '+ ED + NK': {'discriminator.weigh': False},
    '+ ED + NK + QJ': {},
    '+ ED + NK, gold scores': {'discriminator.scores': 'gold'},
}
SETTINGS = {
    'j = 3': {'negatives.lag': 3},
    'j = 10': {'negatives.lag': 10},
    'SC': {'negatives.source': 'self_consistency'},
    'temperature 0': {'negatives.temperature': 0.0},
    'temperature 0.7': {'negatives.temperature': 0.7},
    'temperature 2': {'negatives.temperature': 2.0},
}
RIVALS = {
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
    config = grid.config_file(pathlib.Path(__file__).parents[1] / 'smollm2.py').get_config()
    unweighed = {name: {'discriminator.weigh': False, **own} for name, own in SETTINGS.items()}
    config.reproduce.name = 'smollm2'
    config.reproduce.title = 'QCRD, its parts and its rivals: SmolLM2-135M on SVAMP'
    config.reproduce.caption = (
        'ED, NK, QJ as in Table 4; the rows below them have no scores. Right labels, and greedy '
        "rationales that arrive at the gold answer, of SVAMP's 200 test questions."
    )
    config.reproduce.baseline = 'DSS'
    config.reproduce.seeds = (0, 1, 2, 3)
    config.reproduce.cells = grid.labels_and_rationales({**PARTS, **unweighed, **RIVALS})
    return config
