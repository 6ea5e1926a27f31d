"""The frozen weights of a run that trains adapters: data of the run, as its questions are."""

import hashlib
import json
from typing import Any, NamedTuple

import jax
from ml_collections import config_dict

from qcrd_jax.errors import InputError
from qcrd_jax.models.protocol import Params
from qcrd_jax.runs import digests


class Frozen(NamedTuple):
    """Weights that are not trained.

    Attributes:
      params: whole parameters of a student, in the host's memory.
      digest: of all of them.
    """

    params: Params
    digest: str


def of(params: Params) -> Frozen:
    """Returns weights as those of a run."""
    params = jax.device_get(params)
    leaves = digests.named_leaves(params)
    described = {name: digests.describe(leaf) for name, leaf in leaves.items()}
    text = json.dumps(described, sort_keys=True)
    return Frozen(params, hashlib.sha256(text.encode()).hexdigest())


def check(frozen: Frozen | None, config: config_dict.ConfigDict, metadata: dict[str, Any]) -> None:
    """Refuses frozen weights that are not those of a checkpoint.

    Args:
      frozen: the weights; None of a run that trains all of them.
      config: of the run.
      metadata: of the checkpoint.

    Raises:
      InputError: naming them.
    """
    if frozen is not None and metadata['frozen'] != frozen.digest:
        raise InputError(
            f'--config.student.pretrained: the weights of {config.student.pretrained} are not '
            'those beside which the adapters of the checkpoint were trained; name those, or use '
            'another --workdir.'
        )
