"""Reading what a run has left in its workdir, whatever state the run was left in.

A run may have been killed, may still be running, or may be of a method that writes fewer files.
Nothing here fails on a file's content: what cannot be read is left out and named.
"""

import dataclasses
import json
import math
import pathlib
from collections.abc import Sequence
from typing import Any

from qcrd_jax import sums
from qcrd_jax.errors import InputError

_PROVENANCE = 'provenance.json'  # which no run of an earlier version has
_Texts = dict[str, str | None]  # content by file name; None where there is no such file
# C0, C1, and the marks that reverse the direction of the text after them.
_CONTROLS = (*range(32), *range(127, 160), *range(0x202A, 0x202F), *range(0x2066, 0x206A))
_CLEANED = dict.fromkeys(_CONTROLS, '\ufffd') | {ord('\n'): '\n', ord('\t'): '\t', ord('\r'): None}


@dataclasses.dataclass(frozen=True)
class RunFiles:
    """The readable content of a workdir.

    Attributes:
      name: the workdir's own name.
      config: config.json, nested; empty where it is missing.
      metrics: the lines of metrics.jsonl, in order.
      summary: summary.json; empty until the run has ended.
      predictions: the lines of predictions.jsonl, for the test split.
      scores: finite scores in [0, 1] by kind of rationale, from scores.json.
      examples: the lines of examples.jsonl.
      case_study: the lines of case_study.jsonl.
      counts: prepare.json, what the dataset holds by split.
      provenance: provenance.json, what ran it; empty of a run of long ago.
      missing: names of the files that are not there.
      notices: sentences on what is there and could not be read.
    """

    name: str
    config: dict[str, Any]
    metrics: tuple[dict[str, Any], ...]
    summary: dict[str, Any]
    predictions: tuple[dict[str, Any], ...]
    scores: dict[str, tuple[float, ...]]
    examples: tuple[dict[str, Any], ...]
    case_study: tuple[dict[str, Any], ...]
    counts: dict[str, Any]
    provenance: dict[str, Any]
    missing: tuple[str, ...]
    notices: tuple[str, ...]

    @property
    def method(self) -> str:
        """Its name, as the run has it."""
        return plain(self.summary.get('method') or self.config.get('method') or 'unknown method')

    def series(self, phase: str, key: str) -> list[tuple[float, float]]:
        """The (step, value) points of one metric, by rising step; gaps and non-numbers left out.

        A step that was logged again after a resume counts with its last value.
        """
        points = {}
        for record in self.metrics:
            step, value = number(record.get('step')), number(record.get(key))
            if record.get('phase') == phase and step is not None and value is not None:
                points[step] = value
        return sorted(points.items())

    def last(self, phase: str) -> dict[str, Any]:
        """The last record of a phase; empty where there is none."""
        return next((r for r in reversed(self.metrics) if r.get('phase') == phase), {})


def number(value: Any) -> float | None:
    """The value as a finite float, or None where it is none: null, NaN, text, a flag, too large."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        value = float(value)
    except OverflowError:
        return None
    return value if math.isfinite(value) else None


def plain(value: Any) -> str:
    """The value as text that can be written as UTF-8 and shown.

    JSON can carry half surrogate pairs, which no UTF-8 file can hold, and control characters,
    which HTML forbids or which reorder what follows; all become the replacement character.
    """
    text = '' if value is None else value if isinstance(value, str) else _dump(value)
    text = text.encode('utf-8', 'replace').decode('utf-8')
    return text.translate(_CLEANED)


def read_run(workdir: pathlib.Path) -> RunFiles:
    """Reads every file of the workdir that the report is made of.

    Args:
      workdir: folder of a run, whole or not.

    Returns:
      what could be read, with what could not named in `missing` and `notices`.

    Raises:
      InputError: if there is no such folder.
    """
    workdir = pathlib.Path(workdir)
    if not workdir.is_dir():
        raise InputError(f'{workdir}: no such folder; expected the workdir of a run.')
    names = ('config.json', 'metrics.jsonl', 'summary.json')
    names += ('predictions.jsonl', 'scores.json', 'examples.jsonl', 'case_study.jsonl')
    names += ('prepare.json',)
    texts = {name: _read_text(workdir / name) for name in (*names, _PROVENANCE)}
    notices = _changed(workdir, names)
    return RunFiles(
        name=workdir.resolve().name,
        config=_parse_file('config.json', texts, notices),
        metrics=_parse_lines('metrics.jsonl', texts, notices),
        summary=_parse_file('summary.json', texts, notices),
        predictions=_parse_lines('predictions.jsonl', texts, notices),
        scores=_valid_scores(_parse_file('scores.json', texts, notices), notices),
        examples=_parse_lines('examples.jsonl', texts, notices),
        case_study=_parse_lines('case_study.jsonl', texts, notices),
        counts=_parse_file('prepare.json', texts, notices),
        provenance=_parse_file(_PROVENANCE, texts, notices),
        missing=tuple(name for name in names if texts[name] is None),
        notices=tuple(notices),
    )


def _changed(workdir: pathlib.Path, names: Sequence[str]) -> list[str]:
    """Sentences on files that are not what the run wrote, by its digests."""
    try:
        listed = sums.read(workdir) or {}
    except InputError:
        return [f'{sums.NAME} is damaged: nobody can say whether the files are those of the run.']
    found = sums.faults(workdir, [name for name in names if name in listed]) if listed else []
    return [f'{plain(fault)} since the run wrote it ({sums.NAME}).' for fault in found]


def _dump(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        return f'[{type(value).__name__}]'


def _read_text(path: pathlib.Path) -> str | None:
    try:
        # Undecodable bytes spoil the line they are in, not the file.
        return path.read_text(encoding='utf-8', errors='replace')
    except OSError:
        return None


def _parse_object(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _parse_file(name: str, texts: _Texts, notices: list[str]) -> dict[str, Any]:
    text = texts[name]
    value = None if text is None else _parse_object(text)
    if text is not None and value is None:
        notices.append(f'{name} is not a JSON object.')
    return value or {}


def _parse_lines(name: str, texts: _Texts, notices: list[str]) -> tuple[dict[str, Any], ...]:
    text = texts[name]
    if text is None:
        return ()
    # Not `splitlines`: it would also split at the Unicode separators that JSON strings may hold.
    numbered = [(n, line) for n, line in enumerate(text.split('\n'), start=1) if line.strip()]
    parsed = [(n, _parse_object(line)) for n, line in numbered]
    bad = [n for n, value in parsed if value is None]
    if not numbered:
        notices.append(f'{name} is empty.')
    elif bad == [numbered[-1][0]]:
        notices.append(f'{name}: the last line ({bad[0]}) is torn and was left out.')
    elif bad:
        notices.append(
            f'{name}: {len(bad)} of {len(numbered)} lines are not JSON objects '
            f'and were left out (the first is line {bad[0]}).'
        )
    return tuple(value for _, value in parsed if value is not None)


def _valid_scores(raw: dict[str, Any], notices: list[str]) -> dict[str, tuple[float, ...]]:
    groups = {}
    for kind, values in raw.items():
        if not isinstance(values, Sequence) or isinstance(values, str):
            continue
        finite = [number(value) for value in values]
        kept = tuple(value for value in finite if value is not None and 0.0 <= value <= 1.0)
        if len(kept) < len(values):
            notices.append(
                f'scores.json: {len(values) - len(kept)} of {len(values)} scores of '
                f'"{plain(kind)}" are not numbers in [0, 1] and were left out.'
            )
        if kept:
            groups[plain(kind)] = kept
    return groups
