"""The same bits from every run of a command on a GPU, where they are asked for.

On one machine's CPU, with the same number of threads, that is so by itself. On a GPU two things
stand in the way: sums whose order is left to chance (gradients of embeddings, some reductions), and
autotuning, which picks kernels by the time that they happen to take.
"""

import os
from collections.abc import MutableMapping

from ml_collections import config_dict

_FLAGS = ('--xla_gpu_deterministic_ops=true', '--xla_gpu_autotune_level=0')


def request(
    config: config_dict.ConfigDict, environment: MutableMapping[str, str] = os.environ
) -> None:
    """Sets XLA's flags for the same bits from every run, if `train.deterministic` asks for that.

    To be called before JAX computes anything in the process: it reads the flags as it starts. They
    take the place of others of the same names, and have no effect on a CPU.

    Args:
      config: of the run.
      environment: where the flags are set.
    """
    if not config.train.deterministic:
        return
    names = tuple(flag.partition('=')[0] for flag in _FLAGS)
    others = environment.get('XLA_FLAGS', '').split()
    kept = [flag for flag in others if flag.partition('=')[0] not in names]
    environment['XLA_FLAGS'] = ' '.join([*kept, *_FLAGS])
    print(
        'train.deterministic: on a GPU, kernels are not picked by trial, and sums are taken in a '
        'fixed order; steps take longer',
        flush=True,
    )
