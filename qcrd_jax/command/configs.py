"""The configurations that come along, and which one a command line means."""

import difflib
import pathlib
from collections.abc import Sequence

from qcrd_jax.errors import InputError

_PACKAGE = pathlib.Path(__file__).parents[1]


def folder() -> pathlib.Path:
    """Returns their folder: inside of an installed package, beside that of a checkout."""
    inside = _PACKAGE / 'configs'
    return inside if inside.is_dir() else _PACKAGE.parent / 'configs'


def names() -> list[str]:
    """Returns what `--config` calls them: `svamp`, `paper/table4`."""
    where = folder()
    return sorted(p.relative_to(where).with_suffix('').as_posix() for p in where.rglob('*.py'))


def by_folder() -> dict[str, list[str]]:
    """Returns the names by the folder that they begin with, '' for none."""
    found: dict[str, list[str]] = {'': []}
    for name in names():
        place, _, stem = name.rpartition('/')
        found.setdefault(f'{place}/' if place else '', []).append(stem)
    return found


def path_of(name: str) -> str:
    """Returns the file that `--config` means: one that is there, else one that comes along.

    Args:
      name: a path, or the name of one that comes along, with `.py` and `configs/` or without.

    Raises:
      InputError: if there is neither.
    """
    file, colon, argument = name.partition(':')  # which a file's `get_config` may take
    if pathlib.Path(file).is_file():
        return name
    short = file.removeprefix('configs/').removesuffix('.py')
    if short in names():
        return f'{folder() / short}.py{colon}{argument}'
    near = difflib.get_close_matches(short, names(), n=1)
    meant = f'did you mean {near[0]}? ' if near else ''
    raise InputError(
        f'--config: {file}: No such file, and no configuration of that name comes along; {meant}'
        f'there are {", ".join(names())}.'
    )


def flag(arguments: Sequence[str], name: str) -> str | None:
    """Returns the last value of a flag among arguments that nobody has parsed; None without it.

    Args:
      arguments: without the program's name.
      name: of the flag, which takes a value.

    Examples:
      >>> flag(['--config=svamp', '--config.seed', '3'], 'config.seed')
      '3'
    """
    found = None
    for argument, after in zip(arguments, [*arguments[1:], None], strict=True):
        if argument == '--':
            break
        key, given, value = argument.lstrip('-').partition('=')
        if argument.startswith('-') and key == name:
            found = value if given else after
    return found


def with_flag(arguments: Sequence[str], name: str, value: str) -> list[str]:
    """Returns the arguments with another value of a flag, wherever it stands in them."""
    changed: list[str] = []
    follows = False
    for place, argument in enumerate(arguments):
        if argument == '--':
            return [*changed, *arguments[place:]]
        key, given, _ = argument.lstrip('-').partition('=')
        if follows:
            follows = False
        elif argument.startswith('-') and key == name:
            changed.append(f'--{name}={value}')
            follows = not given
        else:
            changed.append(argument)
    return changed
