"""Test questions in groups: by the operations of their gold label, by its letter or by its class.

The groups only depend on the gold labels and the questions, never on what a student answered, so
that two runs of the same test questions have the same groups.
"""

import collections
import dataclasses
import re
from collections.abc import Sequence
from typing import Any

from qcrd_jax.evaluation.metrics import Ratio, accuracy
from qcrd_jax.report.formats import clip, interval, percent
from qcrd_jax.report.run_files import plain

_SIGNS = {'+': '+', '-': '−', '*': '×', '/': '÷'}  # in the order of the page
_ASCII = str.maketrans('−–×·÷', '--**/')
# Behind a number, a bracket or a unit, and before a number or a bracket: no sign, and no `km/h`.
_OPERATOR = re.compile(r'(?<=[\w)%])\s*([-+*/])\s*(?=[-$(.\d])')
_CHOICE = re.compile(r'^\(([a-z])\) (.*)$', re.MULTILINE)
_MANY = 3  # operations from which on their number counts and not which they are
_MANY_NAME, _NONE_NAME, _OTHER_NAME = 'three or more', 'none', 'other'
_MOST_LABELS = 12  # of free text, beyond which labels are no groups
_MOST_GROUPS = 16
_MOST_READ = 1000  # characters of a label


@dataclasses.dataclass(frozen=True)
class Grouping:
    """The groups of some test questions.

    Attributes:
      by: what they are: 'operation', 'choice', 'class' or 'label'.
      names: of the groups, in the order of the page; untrusted text.
      places: the place of each question's group in `names`.
    """

    by: str
    names: tuple[str, ...]
    places: tuple[int, ...]


def grouped(records: Sequence[dict[str, Any]], kind: str) -> Grouping | None:
    """The groups of test questions.

    Args:
      records: the predictions of a run.
      kind: how its answers are compared; '' where nobody knows.

    Returns:
      None where there are no questions, or the labels are free text of which few are alike.
    """
    labels = [plain(record.get('label')) for record in records]
    if not labels:
        return None
    if kind == 'equation':
        return _grouping('operation', [operations(label) for label in labels], _by_operations)
    if kind == 'choice':
        questions = [plain(record.get('input')) for record in records]
        letters = [letter(*each) for each in zip(questions, labels, strict=True)]
        if set(letters) != {_OTHER_NAME}:
            return _grouping('choice', letters, lambda name: (name == _OTHER_NAME, name))
    names = [' '.join(label.split()).casefold() for label in labels]
    few = len(set(names)) <= _MOST_LABELS and 2 * len(set(names)) <= len(names)
    if kind != 'class' and not few:
        return None
    return _grouping('class' if kind == 'class' else 'label', names, lambda name: (False, name))


def operations(label: str) -> str:
    """Returns the operations of an equation, in the order + − × ÷, or how many there are.

    Examples:
      >>> operations('( 84.0 / 2.0 )'), operations('2 * (5 - -3)'), operations('1 + 2 + 3 - 4')
      ('÷', '− ×', 'three or more')
    """
    found = _OPERATOR.findall(label[:_MOST_READ].translate(_ASCII))
    if not found:
        return _NONE_NAME
    if len(found) >= _MANY:
        return _MANY_NAME
    return ' '.join(_SIGNS[sign] for sign in sorted(found, key=list(_SIGNS).index))


def letter(question: str, label: str) -> str:
    r"""Returns the letter of the choice that is the gold answer, or 'other'.

    Examples:
      >>> letter('Where do beavers live?\nAnswer Choices:\n(a) zoo\n(b) river', 'river')
      '(b)'
    """
    wanted = label.strip().casefold()
    found = {a for a, choice in _CHOICE.findall(question) if choice.strip().casefold() == wanted}
    return f'({found.pop()})' if len(found) == 1 else _OTHER_NAME


def table(grouping: Grouping, records: Sequence[dict[str, Any]]) -> list[dict[str, str]]:
    """A row for each group: questions, right labels, right rationales, with Wilson's intervals.

    Args:
      grouping: of the records.
      records: the predictions.
    """
    members: list[list[dict[str, Any]]] = [[] for _ in grouping.names]
    for place, record in zip(grouping.places, records, strict=True):
        members[place].append(record)
    return [
        {'name': clip(name), 'count': f'{len(group):,}'}
        | _columns('label', accuracy(record.get('correct') is True for record in group))
        | _columns(
            'rationale',
            accuracy(
                record['rationale_correct']
                for record in group
                if isinstance(record.get('rationale_correct'), bool)
            ),
        )
        for name, group in zip(grouping.names, members, strict=True)
    ]


def _columns(name: str, ratio: Ratio) -> dict[str, str]:
    counts = f'{ratio.numerator:,}' if ratio.denominator else ''
    return {
        name: percent(ratio.value),
        f'{name}_right': counts,
        f'{name}_interval': interval(ratio),
    }


def _grouping(by: str, names: list[str], order: Any) -> Grouping:
    """Groups of the same name, of which the rarest are joined where there are too many."""
    counts = collections.Counter(names)
    kept = set(counts)
    if len(kept) > _MOST_GROUPS:
        ranked = sorted(kept - {_OTHER_NAME}, key=lambda name: (-counts[name], name))
        kept = set(ranked[: _MOST_GROUPS - 1])
    places = [name if name in kept else _OTHER_NAME for name in names]
    shown = sorted(set(places), key=order)
    if _OTHER_NAME in shown and len(kept) < len(counts):  # it is last, whatever the order
        shown = [*(name for name in shown if name != _OTHER_NAME), _OTHER_NAME]
    number = {name: place for place, name in enumerate(shown)}
    return Grouping(by, tuple(shown), tuple(number[name] for name in places))


def _by_operations(name: str) -> tuple[int, list[int]]:
    """One operation before two before many, no operation last."""
    signs = list(_SIGNS.values())
    if not set(name) <= {*signs, ' '}:
        return (_MANY if name == _MANY_NAME else _MANY + 1), []
    parts = name.split()
    return len(parts), [signs.index(part) for part in parts]
