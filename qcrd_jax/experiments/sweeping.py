"""A sweep: a grid of all combinations of some fields' values, written on the command line."""

import itertools
import math
from typing import Any

from ml_collections import config_dict

from qcrd_jax import files, grid
from qcrd_jax.errors import InputError

# A setting is chosen by what validation says of it; the test split is looked at beside it.
_COLUMNS = {'validation': 'validation_accuracy', 'test': 'test_accuracy'}
_MOST = 1000  # settings
_BOOLEANS = {'true': True, 'false': False}


def expanded(config: config_dict.ConfigDict) -> config_dict.ConfigDict:
    """Returns the configuration with the grid of its sweep, where it has one.

    Raises:
      InputError: if there is a grid already, or a text of the sweep is not `field=value,value`; it
        names the text.
    """
    texts = config.reproduce.sweep
    if not texts:
        return config
    if config.reproduce.cells:
        raise InputError('--config.reproduce.sweep: this configuration has a grid of its own.')
    values = files.flatten(config.to_dict())
    axes = [_axis(text, values) for text in texts]
    names = [axis[0][0] for axis in axes]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f'--config.reproduce.sweep: {name}: is there twice.')
    if (count := math.prod(map(len, axes))) > _MOST:
        raise InputError(f'--config.reproduce.sweep: {count} settings; expected at most {_MOST}.')
    rows = {}
    for setting in itertools.product(*axes):
        rows[', '.join(f'{name}={value}' for name, value in setting)] = dict(setting)
    swept = config.copy_and_resolve_references().unlock()
    cells = [
        cell
        for column, measure in _COLUMNS.items()
        for cell in grid.cells(rows, {column: {}}, measure=measure)
    ]
    swept.reproduce.update(
        cells=tuple(cells),
        name=config.reproduce.name or 'sweep',
        title=config.reproduce.title or f'A sweep over {", ".join(names)}',
    )
    return swept.lock()


def _axis(text: Any, values: dict[str, Any]) -> list[tuple[str, Any]]:
    """The values of one field, in the type that it has."""
    name, given, listed = text.partition('=') if isinstance(text, str) else ('', '', '')
    if not given or not listed:
        raise InputError(
            "--config.reproduce.sweep: expected texts like 'optimizer.learning_rate=1e-4,3e-4', "
            f'got {text!r}.'
        )
    if name not in values or isinstance(values[name], tuple):
        raise InputError(f'--config.reproduce.sweep: {name}: no field with single values.')
    if name in grid.OF_RUNS or name.startswith('reproduce.'):
        raise InputError(
            f'--config.reproduce.sweep: {name}: is no part of a setting; '
            '--config.reproduce.seeds and --config.data.folds say which runs each has.'
        )
    axis = [(name, _value(name, each.strip(), values[name])) for each in listed.split(',')]
    if len(dict.fromkeys(axis)) < len(axis):
        raise InputError(f'--config.reproduce.sweep: {name}: has a value twice: {listed}.')
    return axis


def _value(name: str, text: str, present: Any) -> Any:
    wanted = type(present)
    try:
        return _BOOLEANS[text.lower()] if wanted is bool else wanted(text)
    except (ValueError, KeyError) as error:
        raise InputError(
            f'--config.reproduce.sweep: {name}: expected {wanted.__name__}, got {text!r}.'
        ) from error
