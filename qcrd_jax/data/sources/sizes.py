"""How many questions a dataset has, before it is prepared."""

import pathlib
from typing import Any

from qcrd_jax.data.sources import builders
from qcrd_jax.data.sources.table import DATASETS


def test_size(data_config: Any, scratch: pathlib.Path | str) -> int:
    """Returns how many questions are tested, over all folds if there are any.

    The questions of a source are counted; those of a download are as many as the table says, and
    nothing is downloaded.

    Args:
      data_config: the field `data` of the configuration.
      scratch: folder for files that are read and forgotten.

    Raises:
      InputError: if a source is missing or malformed.
    """
    sizes = _sizes(data_config, pathlib.Path(scratch))
    return sum(sizes.values()) if data_config.folds else sizes['test']


def _sizes(data_config: Any, scratch: pathlib.Path) -> dict[str, int]:
    """By split, as released: with folds only their sum counts."""
    name = data_config.name
    entry = DATASETS[name]
    if entry.generator:
        settings = data_config[name]
        return {split: settings[split] for split in ('train', 'validation', 'test')}
    if entry.download and not (data_config.source or data_config.teacher_samples):
        return dict(entry.download.sizes)
    splits = builders.read_questions(data_config, scratch)
    return {split: len(examples) for split, examples in splits.items()}
