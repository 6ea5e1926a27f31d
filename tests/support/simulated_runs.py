"""Right answers of runs whose questions, methods and seeds differ as much as is asked for."""

import numpy as np


def simulated_runs(
    rng, seeds, questions, folds=1, *, gain=0.0, lasting=0.0, luck=0.0, hardness=1.2
):
    """Two methods' answers, [seeds, questions] each, and the fold of each question.

    Args:
      rng: draws them.
      seeds: of each method, in each fold.
      questions: of all folds.
      folds: whose runs answer every folds-th question each.
      gain: of the first method, in logits.
      lasting: standard deviation by which a method is better at some questions, in logits.
      luck: standard deviation by which a whole run is better than others, in logits.
      hardness: standard deviation of the questions, in logits.
    """
    of_question = rng.normal(0.4, hardness, questions)
    of_method = rng.normal(0, lasting, (2, 1, questions)) + np.array([gain, 0.0])[:, None, None]
    fold = np.arange(questions) % folds
    of_run = rng.normal(0, luck, (2, seeds, folds))[:, :, fold]
    logits = of_question + of_method + of_run
    first, second = rng.random(logits.shape) < 1 / (1 + np.exp(-logits))
    return first, second, fold
