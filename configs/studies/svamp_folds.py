"""All methods on all 1000 questions of SVAMP, by cross-validation, from a tiny student.

As configs/studies/svamp_methods.py, whose 200 test questions show differences of 4 to 5 points. Of
five folds each is the test set once; a run is a seed in a fold.

Command: python run.py --config=configs/studies/svamp_folds.py --workdir=runs/study
  --mode=reproduce --config.student.pretrained=runs/pretrained/hf
  --config.data.source=<folder in the layout of Distilling step-by-step>
  --config.data.teacher_samples=<JSON lines of raw teacher answers>
Hardware: 2 CPU cores.
Score: docs/results.md, two of the rows.
"""

import pathlib

from qcrd_jax import grid


def get_config():
    """Returns the configuration with its grid."""
    config = grid.config_file(pathlib.Path(__file__).with_name('svamp_methods.py')).get_config()
    config.data.folds = 5
    config.reproduce.name = 'svamp_folds'
    config.reproduce.title = 'All methods on SVAMP by cross-validation, from a tiny student'
    config.reproduce.caption = (
        "Of SVAMP's 1000 questions, each tested once, right labels and right rationales."
    )
    config.reproduce.seeds = (0, 1, 2)
    return config
