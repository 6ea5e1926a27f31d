"""How a page calls a run: its method, its data, its student, how far it came, where it lies."""

import shlex
from typing import Any, get_args

from qcrd_jax.data.schema import AnswerType
from qcrd_jax.data.sources.table import DATASETS
from qcrd_jax.files import flatten
from qcrd_jax.methods.table import METHODS
from qcrd_jax.report.formats import cell, clip
from qcrd_jax.report.run_files import RunFiles, number, plain
from qcrd_jax.runs.commands import is_private

_NOT_SHOWN = 'not shown'
_MAX_LAUNCHES = 6


def title(run: RunFiles) -> str:
    """What a page of the run is called."""
    return f'{method_title(run)} on {dataset(run)}'


def method_title(run: RunFiles) -> str:
    """How the title calls the run's method; one that is unknown by its own name."""
    entry = METHODS.get(run.method)
    return entry.title if entry else run.method


def dataset(run: RunFiles) -> str:
    """The name of the data."""
    data = run.config.get('data')
    configured = data.get('name') if isinstance(data, dict) else None
    return plain(run.summary.get('dataset') or configured or 'unknown data')


def answer_type(run: RunFiles) -> str:
    """How its answers are compared; '' where nobody knows."""
    entry = DATASETS.get(dataset(run))
    found = (entry and entry.answer_type) or flatten(run.config).get('data.answer_type')
    return found if found is not None and found in get_args(AnswerType) else ''


def steps(run: RunFiles) -> float:
    """The step that was reached."""
    logged = [number(r.get('step')) or 0.0 for r in run.metrics if r.get('phase') == 'train']
    return number(run.summary.get('steps')) or max(logged, default=0.0)


def facts(run: RunFiles) -> list[str]:
    """The line under the title: which data, student, seed and how far."""
    config = flatten(run.config)
    student = run.summary.get('student') or config.get('student.pretrained')
    student = student or config.get('student.size')
    seed = run.summary.get('seed', config.get('seed'))
    reached, planned = steps(run), number(config.get('train.steps'))
    planned = None if config.get('train.epochs') else planned
    count = f'{reached:,.0f}'
    if planned is not None and planned != reached:
        count += f' of {planned:,.0f}'
    entry = DATASETS.get(dataset(run))
    return [
        *([entry.note] if entry and entry.note else []),
        *([f'student {plain(student)}'] if student else []),
        *([f'seed {plain(seed)}'] if seed is not None else []),
        f'{count} steps',
    ]


def configured(field: str, value: Any) -> str:
    """A value of the configuration, unless it may hold a secret.

    Args:
      field: its dotted name.
      value: untrusted.
    """
    return _NOT_SHOWN if is_private(field) and value not in ('', None) else cell(value)


def launches(run: RunFiles) -> list[dict[str, Any]]:
    """What ran it: command, commit, device and versions of the last launches that differed."""
    recorded = run.provenance.get('launches')
    recorded = recorded if isinstance(recorded, list) else []
    found = [each for each in recorded if isinstance(each, dict)]
    return [
        {'name': _place(place, len(found)), 'rows': _launch(each)}
        for place, each in enumerate(found)
        if place == 0 or place > len(found) - _MAX_LAUNCHES
    ]


def _place(place: int, count: int) -> str:
    if count == 1:
        return ''
    return 'Begun' if place == 0 else 'Resumed' if place == count - 1 else f'Resumed ({place})'


def _launch(record: dict[str, Any]) -> list[tuple[str, str]]:
    """Its rows; what is missing has a dash."""
    versions = record.get('versions')
    versions = versions if isinstance(versions, dict) else {}
    device, count = clip(record.get('device')), number(record.get('devices'))
    if device and count is not None and count != 1:
        device = f'{count:.0f} × {device}'
    platform = clip(record.get('platform'))
    commit = clip(record.get('commit'))
    if commit and record.get('changed') is True:
        commit += ', with changes'
    return [
        ('command', _command(clip(record.get('command'))) or '–'),
        ('commit', commit or 'not a checkout'),
        ('device', f'{device} ({platform})' if platform not in ('', device) else device or '–'),
        *((clip(name), cell(version)) for name, version in versions.items()),
    ]


def _command(text: str) -> str:
    """A flag a line, as a shell takes it too."""
    try:
        parts = shlex.split(text)
    except ValueError:  # cut, or damaged
        return text
    lines = [shlex.quote(part) for part in parts]
    return ''.join(
        f' \\\n  {line}' if line.startswith('-') else f' {line}' for line in lines
    ).strip()
