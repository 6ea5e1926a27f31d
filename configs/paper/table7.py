"""Table 7: a judge compares the rationales of DSS and of QCRD, T5-base.

Command: python run.py --config=configs/paper/table7.py --workdir=runs/paper --mode=reproduce
Hardware: the paper had one A100-80G. The judge is a server, see docs/teacher.md.
Score: not yet measured.
"""

from qcrd_jax import grid
from qcrd_jax.config import base_config

ROWS = {'DSS': {'method': 'dss'}, 'QCRD': {'method': 'qcrd'}}
RATIONALES = {'temperature 0': 'rationale', 'temperature 0.7': 'rationale_t0.7'}
VERDICTS = {'DSS is better': 'a_better', 'both are good': 'both_good', 'QCRD is better': 'b_better'}
PAPER = {
    'temperature 0': [(21, 0, 29), (19, 6, 25), (26, 1, 23), (17, 11, 22)],
    'temperature 0.7': [(22, 0, 28), (20, 6, 24), (25, 1, 24), (14, 3, 33)],
}


def _verdicts():
    for name, field in RATIONALES.items():
        for place, (verdict, measure) in enumerate(VERDICTS.items()):
            for column, (dataset, data) in enumerate(grid.BENCHMARKS.items()):
                yield {
                    'row': f'{name}: {verdict}',
                    'column': dataset,
                    'paper': float(PAPER[name][column][place]),
                    'overrides': {**data, 'judge.rationales': field},
                    'measure': measure,
                    'needs': {'judge.runs': ('DSS', 'QCRD')},
                }


def get_config():
    """Returns the configuration with its grid."""
    config = base_config()
    config.reproduce.name = 'table7'
    config.reproduce.title = 'Table 7: whose rationales are better'
    config.reproduce.caption = (
        'Of 50 test questions, how often a judge prefers the rationale of one student '
        'in both orders. The paper: T5-base, judged by GPT-3.5-turbo.'
    )
    config.reproduce.unit = 'questions'
    config.reproduce.seeds = (0,)
    config.reproduce.cells = (*grid.cells(ROWS, grid.BENCHMARKS, hidden=True), *_verdicts())
    return config
