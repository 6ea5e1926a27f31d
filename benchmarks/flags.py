"""The flags of a setting, which several benchmarks share."""

import argparse
import dataclasses
from collections.abc import Callable
from typing import Any

from benchmarks import lengths
from benchmarks.setting import SIZES, Setting
from qcrd_jax.methods import METHODS
from qcrd_jax.models import architectures


def add_setting(parser: argparse.ArgumentParser) -> None:
    """Adds a flag for each field of `Setting`."""
    default = Setting()

    def add(name: str, about: str, **options: Any) -> None:
        flag = '--' + name.replace('_', '-')
        about += ' (default: %(default)s)'
        parser.add_argument(flag, default=getattr(default, name), help=about, **options)

    add('size', 'of student and discriminator', choices=SIZES)
    add('version', 'of T5, or of a decoder-only student', choices=tuple(architectures.SIZES))
    add('method', 'which step', choices=tuple(METHODS))
    add('batch', 'B, questions per step', type=at_least(1))
    add('lengths', 'full: S, T, L and m as below; else a table', choices=('full', *lengths.TABLES))
    add('source_length', 'S, tokens of a question', type=at_least(1))
    add('rationale_length', 'T, tokens of a rationale, sampled ones too', type=at_least(1))
    add('label_length', 'L, tokens of a label', type=at_least(1))
    add('positives', 'm, positive rationales per question', type=at_least(1))
    add('negatives', 'k, sampled negatives per question; 0: none', type=at_least(0))
    add('lag', 'j, steps between the student and its generator', type=at_least(1))
    add('steps', 'steps that are timed, rounded up to whole chunks', type=at_least(1))
    add('dtype', 'of the matrix products', choices=('float32', 'bfloat16'))
    switch = argparse.BooleanOptionalAction
    add('together', 'sample the negatives of `lag` steps in one loop', action=switch)
    add('discriminator', 'weigh the rationales by their scores', action=switch)
    add('update_every', 'steps between updates of the discriminator; 0: never', type=at_least(0))


def take_setting(parser: argparse.ArgumentParser, arguments: dict[str, Any]) -> Setting:
    """Takes the setting out of the parsed arguments."""
    names = [field.name for field in dataclasses.fields(Setting)]
    setting = Setting(**{name: arguments.pop(name) for name in names})
    sizes = architectures.SIZES[setting.version]
    if setting.size not in sizes:
        parser.error(f'argument --size: {setting.version} has {", ".join(sizes)}.')
    return setting


def at_least(smallest: int) -> Callable[[str], int]:
    """Returns what reads a whole number of a flag that is not smaller."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = smallest - 1
        if value < smallest:
            raise argparse.ArgumentTypeError(
                f'expected a whole number of at least {smallest}, got {text!r}'
            )
        return value

    return parse
