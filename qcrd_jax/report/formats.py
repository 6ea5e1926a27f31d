"""How the report writes values: shares, times, scores, and texts of any length."""

from typing import Any

from qcrd_jax.evaluation.metrics import Ratio
from qcrd_jax.report.run_files import number, plain

_POOR, _MIDDLE, _GOOD = (247, 198, 173), (247, 245, 240), (176, 208, 240)  # RGB at 0, 1/2 and 1
MAX_CHARACTERS = 1200  # of any one text


def score_colour(score: float) -> str:
    """The background of a rationale: orange at 0, neutral at 1/2, blue at 1, as a CSS colour.

    The two ends differ for readers with any colour vision, and dark text is legible on both.
    """
    low, high = (_POOR, _MIDDLE) if score < 0.5 else (_MIDDLE, _GOOD)
    share = 2 * score if score < 0.5 else 2 * score - 1
    mixed = (round(a + share * (b - a)) for a, b in zip(low, high, strict=True))
    return f'rgb({", ".join(map(str, mixed))})'


def scored(record: dict[str, Any]) -> dict[str, str]:
    """The score of a record and its background; a neutral one without a score."""
    score = number(record.get('score'))
    if score is None or not 0 <= score <= 1:
        return {'score': '', 'background': '#f3f4f6'}
    return {'score': f'{score:.2f}', 'background': score_colour(score)}


def cell(value: Any) -> str:
    """A value of the configuration or of the summary."""
    if isinstance(value, float):
        return f'{value:.6g}'
    return clip(value) if value not in ('', None) else '–'


def clip(value: Any) -> str:
    """The value as text, cut where it is very long."""
    text = plain(value)
    hidden = len(text) - MAX_CHARACTERS
    return text if hidden <= 0 else f'{text[:MAX_CHARACTERS]} … ({hidden:,} more characters)'


def first(*values: Any) -> float | None:
    """The first of the values that is a number."""
    return next((found for value in values if (found := number(value)) is not None), None)


def percent(share: float | None) -> str:
    """A share as a percentage, with a dash where there is none."""
    return '–' if share is None else f'{100 * share:.1f} %'


def interval(ratio: Ratio) -> str:
    """The 95 % interval of a share, in percent; '' where nothing was counted."""
    if ratio.interval is None:
        return ''
    low, high = ratio.interval
    return f'{100 * low:.1f} to {100 * high:.1f}'


def seconds(time: float | None) -> str:
    """A time of about a second."""
    if time is None:
        return '–'
    return f'{1000 * time:.0f} ms' if time < 1 else f'{time:.2f} s'


def duration(time: float | None) -> str:
    """A time, given in seconds, from seconds to many hours."""
    if time is None:
        return '–'
    if time < 99.5:
        return f'{time:.0f} s' if time >= 9.95 else f'{time:.1f} s'
    return f'{time / 60:.0f} min' if time < 5400 else f'{time / 3600:.1f} h'


def millions(count: float) -> str:
    """A number of parameters."""
    return f'{count / 1e6:,.1f} M' if count >= 1e5 else f'{count:,.0f}'
