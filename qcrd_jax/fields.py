"""The fields of a configuration by their dotted names: what each means, and reading them back."""

import inspect
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ml_collections import config_dict

from qcrd_jax import config as configuration
from qcrd_jax import files, validation
from qcrd_jax.errors import InputError, shown

_FIELD = re.compile(r'    (\w+)\.(\w+) = [^#]*# (.*)')
_COMMENT = re.compile(r'    # (.*)')
_GROUPS = {'config': '', 'mwp': 'data.mwp.'}  # of owners that are not called as their group
_LONGEST = 200  # characters of a value


class Field(NamedTuple):
    """One field.

    Attributes:
      name: dotted, as the command line has it behind `--config.`.
      value: in this configuration.
      default: in the base configuration.
      meaning: unit, choices and place in the paper, in words.
      allowed: what `validation` lets it be, in words; '' where it says nothing of its own.
    """

    name: str
    value: Any
    default: Any
    meaning: str
    allowed: str


def described(config: config_dict.ConfigDict) -> list[Field]:
    """Returns all fields of a configuration, in the order of `config.base_config`."""
    defaults, values = dict(leaves(configuration.base_config())), dict(leaves(config))
    return [
        Field(name, values[name], defaults[name], meaning, _allowed(name))
        for name, meaning in meanings().items()
    ]


def text(config: config_dict.ConfigDict) -> str:
    """Returns what `--mode=config` prints: a line for each field, `*` at those that differ."""
    lines = []
    for field in described(config):
        differs = field.value != field.default
        mark = '*' if differs else ' '
        lines.append(f'{mark} {field.name} = {shown(field.value, _LONGEST)}')
        if differs:
            lines.append(f'      by default {field.default!r}')
        lines.append(f'      {field.meaning}')
        if not all(choice in field.meaning for choice in field.allowed.split(' | ')):
            lines.append(f'      may be: {field.allowed}')
    return '\n'.join(lines)


def leaves(config: config_dict.ConfigDict, prefix: str = '') -> Iterator[tuple[str, Any]]:
    """Yields the dotted name and the value of every field."""
    for name, value in config.items():
        if isinstance(value, config_dict.ConfigDict):
            yield from leaves(value, f'{prefix}{name}.')
        else:
            yield f'{prefix}{name}', value


def meanings() -> dict[str, str]:
    """Returns what the comments of `config.py` say of every field, by its dotted name.

    A field's comment stands behind it, and goes on in the lines below it.
    """
    found: dict[str, str] = {}
    name = None
    for line in inspect.getsource(configuration).splitlines():
        if begins := _FIELD.match(line):
            owner, field, comment = begins.groups()
            name = f'{_GROUPS.get(owner, f"{owner}.")}{field}'
            found[name] = comment
        elif (goes_on := _COMMENT.match(line)) and name is not None:
            found[name] += f' {goes_on[1]}'
        else:
            name = None
    return found


def from_json(tree: Mapping[str, Any], where: str) -> config_dict.ConfigDict:
    """Returns the configuration that was written as JSON; fields that it lacks are the defaults.

    Args:
      tree: as `runs.workdir.to_json` made it.
      where: what errors call it.

    Raises:
      InputError: if a field is none of this version, or its value has another type.
    """
    config = configuration.base_config()
    for name, value in files.flatten(dict(tree)).items():
        *groups, last = name.split('.')
        group = config
        for part in groups:
            group = group.get(part) if isinstance(group, config_dict.ConfigDict) else None
        if (
            not isinstance(group, config_dict.ConfigDict)
            or last not in group
            or isinstance(group[last], config_dict.ConfigDict)
        ):
            raise InputError(
                f'{where}: {name} is no field of this version of the program; name the '
                'configuration by --config.'
            )
        try:
            group[last] = tuple(value) if isinstance(value, list) else value
        except (TypeError, ValueError) as error:
            raise InputError(
                f'{where}: {name}: expected {type(group[last]).__name__}, got {shown(value)}.'
            ) from error
    return config


def _allowed(name: str) -> str:
    if name in validation.CHOICES:
        return ' | '.join(map(str, validation.CHOICES[name]))
    if name in validation.RANGES:
        low, high = validation.RANGES[name]
        return f'at least {low}' if high is None else f'{low} to {high}'
    return ''
