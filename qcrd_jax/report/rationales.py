"""How good a run's rationales are: shares with intervals, beside the labels, and examples.

All is counted in `predictions.jsonl`, which may be damaged or of an older run: what does not say of
a rationale whether it is right is left out.
"""

import statistics
from collections.abc import Sequence
from typing import Any

from qcrd_jax.evaluation.metrics import Ratio, accuracy
from qcrd_jax.evaluation.rationales import name_at
from qcrd_jax.methods.table import METHODS
from qcrd_jax.report.formats import clip, first, interval, percent
from qcrd_jax.report.marked import marked, temperature_name
from qcrd_jax.report.run_files import RunFiles, number, plain

_GREEDY = name_at(0.0)
_DRAWN = f'{_GREEDY}_t'
_READ = '_correct'  # ends the name of the field that says that a rationale was read
_MAX_EXAMPLES, _MAX_ROWS = 8, 8

Records = Sequence[dict[str, Any]]


def rationale_quality(run: RunFiles, checked: bool) -> dict[str, Any]:
    """The section on rationales: a row for each temperature, greedy ones beside labels, examples.

    Args:
      run: its files.
      checked: whether the rationales calculate, so that their details can be checked.
    """
    entry = METHODS.get(run.method)
    greedy = _of(run.predictions, _GREEDY)
    return {
        'taught': entry is None or entry.rationales,
        'answered': bool(run.predictions),
        'rows': [_row(name, _of(run.predictions, name)) for name in _names(run.predictions)],
        'crossed': _crossed(greedy),
        **_examples(greedy, checked),
    }


def headline(run: RunFiles) -> tuple[str, str, str] | None:
    """Name, value and note of the headline; None where nothing is known."""
    right = _right(_of(run.predictions, _GREEDY))
    share = first(run.summary.get(f'{_GREEDY}_accuracy'), right.value)
    if share is None:
        return None
    return 'Right rationales', percent(share), counted(right) or 'greedy, of the test questions'


def counted(ratio: Ratio) -> str:
    """The counts of a share with its interval; '' where nothing was counted."""
    if not ratio.denominator:
        return ''
    counts = f'{ratio.numerator:,.0f} of {ratio.denominator:,.0f}'
    return f'{counts}; 95 % interval {interval(ratio)}\u00a0%'


def _names(records: Records) -> list[str]:
    """The names of the rationales that were read, the greedy ones first."""
    names = {
        key.removesuffix(_READ)
        for record in records
        for key in record
        if key == _GREEDY + _READ or (key.startswith(_DRAWN) and key.endswith(_READ))
    }
    return sorted(names, key=lambda name: (name != _GREEDY, name))[:_MAX_ROWS]


def _of(records: Records, name: str) -> Records:
    """The records that say whether the rationale of that name is right."""
    return [record for record in records if isinstance(record.get(name + _READ), bool)]


def _right(records: Records, name: str = _GREEDY) -> Ratio:
    return accuracy(record[name + _READ] for record in records)


def _row(name: str, records: Records) -> dict[str, str]:
    """The qualities of the rationales of one temperature."""
    drawn_at = '' if name == _GREEDY else name.removeprefix(_DRAWN)
    tokens = [number(record.get(f'{name}_tokens')) for record in records]
    lengths = [each for each in tokens if each is not None]
    shares = {
        'right': _right(records, name),
        'agrees': accuracy(record.get(f'{name}_agrees') is True for record in records),
        'unread': accuracy(record.get(f'{name}_answer') is None for record in records),
        'ended': accuracy(record.get(f'{name}_ended') is True for record in records),
    }
    return {
        'kind': f'temperature {plain(drawn_at)}' if drawn_at else temperature_name(0.0),
        'count': f'{len(records):,}',
        'tokens': f'{statistics.fmean(lengths):.1f}' if lengths else '–',
        **{field: percent(ratio.value) for field, ratio in shares.items()},
        **{f'{field}_interval': interval(ratio) for field, ratio in shares.items()},
    }


def _crossed(records: Records) -> list[dict[str, Any]]:
    """Labels right or wrong by greedy rationales right or wrong, as counts and shares."""
    rows = []
    for label in (True, False) if records else ():
        counts = [
            sum((record.get('correct') is True) is label and record[_GREEDY + _READ] is rationale
                for record in records)
            for rationale in (True, False)
        ]  # fmt: skip
        rows.append(
            {
                'label': 'right' if label else 'wrong',
                'cells': [
                    {'count': f'{count:,}', 'share': percent(count / len(records))}
                    for count in (*counts, sum(counts))
                ],
            }
        )
    return rows


def _examples(records: Records, checked: bool) -> dict[str, Any]:
    """Questions whose label is right and whose rationale is wrong."""
    unlike = [
        record
        for record in records
        if record.get('correct') is True and not record[_GREEDY + _READ]
    ]
    return {
        'unlike': f'{len(unlike):,}',
        'checked': checked,
        'examples': [
            {
                'id': clip(record.get('id')),
                'input': clip(record.get('input')),
                'label': clip(record.get('label')),
                'prediction': clip(record.get('prediction')),
                'answer': clip(record.get(f'{_GREEDY}_answer')) or 'nothing readable',
                'rationale': marked(
                    'greedy',
                    {'text': record.get(_GREEDY)},
                    plain(record.get('input')),
                    checked,
                ),
            }
            for record in unlike[:_MAX_EXAMPLES]
        ],
    }
