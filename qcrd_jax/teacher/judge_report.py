"""The report on a judgement: shares with their intervals, position bias, and lines for a person."""

import collections
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from qcrd_jax.evaluation.metrics import Ratio
from qcrd_jax.teacher.judge_pairs import Pair, RunName
from qcrd_jax.teacher.judge_verdicts import Triple, Verdict


def figures(
    triple: Triple, pairs: Sequence[Pair], verdicts: Mapping[str, Mapping[RunName, Verdict]]
) -> dict[str, Any]:
    """Returns the counts of a judgement, with shares and intervals."""
    said = collections.Counter(_all_verdicts(verdicts))
    return {
        'questions': triple.total,
        'a_better': _share(triple.a_better, triple.total),
        'both_good': _share(triple.both_good, triple.total),
        'b_better': _share(triple.b_better, triple.total),
        'p_value': triple.p_value,
        'first_preferred': _share(said['first'], said['first'] + said['second']),
        'verdicts': said.total(),
        'ties': said['tie'],
        'unreadable': said['unreadable'],
        'identical': sum(pair.identical for pair in pairs),
    }


def _all_verdicts(verdicts: Mapping[str, Mapping[RunName, Verdict]]) -> Iterator[Verdict]:
    for orders in verdicts.values():
        yield from orders.values()


def _share(part: int, whole: int) -> dict[str, Any]:
    ratio = Ratio(part, whole)
    return {'count': part, 'of': whole, 'share': ratio.value, 'interval': ratio.interval}


def summary(report: dict[str, Any]) -> str:
    """Returns the report as a few lines for a person."""
    triple = [report[name]['count'] for name in ('a_better', 'both_good', 'b_better')]
    first = report['first_preferred']
    tokens = report['tokens']
    return '\n'.join(
        [
            f'A better / both good / B better: {triple[0]} / {triple[1]} / {triple[2]} '
            f'of {report["questions"]} questions',
            f'A better:  {_percent(report["a_better"])}  {report["runs"]["A"]}',
            f'both good: {_percent(report["both_good"])}',
            f'B better:  {_percent(report["b_better"])}  {report["runs"]["B"]}',
            f'A against B: p = {report["p_value"]:.3g} (sign test, exact, two-sided)',
            f'the first of two was preferred in {first["count"]} of {first["of"]} verdicts that '
            f'preferred one: {_percent(first)}',
            f'of {report["verdicts"]} verdicts {report["ties"]} were ties and '
            f'{report["unreadable"]} unreadable (ties too); {report["identical"]} questions with '
            'identical rationales were not asked (both good)',
            f'spent in all: {tokens["prompt"]} + {tokens["completion"]} tokens, '
            f'${report["cost"]:.4f}',
        ]
    )


def _percent(share: dict[str, Any]) -> str:
    if not share['of']:
        return 'none'
    low, high = share['interval']
    return f'{share["share"]:6.1%} (95 % interval {low:.1%} to {high:.1%})'
