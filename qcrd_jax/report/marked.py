"""A rationale as a page shows it: in pieces, its incorrect details marked."""

from typing import Any

from qcrd_jax.data import marking
from qcrd_jax.report.formats import MAX_CHARACTERS, scored
from qcrd_jax.report.run_files import number, plain

ARITHMETIC = 'equation'  # the answer type whose rationales can be checked


def temperature_name(value: Any) -> str:
    """How a page calls rationales that were drawn at a temperature; untrusted."""
    temperature = number(value)
    if temperature is None:
        return 'student'
    return f'temperature {temperature:g}' if temperature else 'greedy'


def marked(kind: str, record: dict[str, Any], question: str, checked: bool) -> dict[str, Any]:
    """A rationale in pieces, of which those with a fault are marked where arithmetic is checked."""
    text = plain(record.get('text'))
    shown, hidden = text[:MAX_CHARACTERS], len(text) - MAX_CHARACTERS
    pieces = marking.mark(shown, question) if checked else (marking.Piece(shown, ''),)
    return {
        'kind': kind,
        'pieces': pieces if shown else (marking.Piece('(empty)', ''),),
        'hidden': max(hidden, 0),
        'faulty': any(piece.fault for piece in pieces),
        'score': scored(record)['score'],
    }
