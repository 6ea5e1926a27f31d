"""What a judge answers: verdicts, and how many questions they make each run the better one of."""

import collections
import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Literal

from qcrd_jax.evaluation.significance import sign_test
from qcrd_jax.teacher.judge_pairs import Pair, RunName

Verdict = Literal['first', 'second', 'tie', 'unreadable']

_VERDICT = re.compile(r'better explanation\s*:\s*(?:explanation )?(a|b|tie)', re.ASCII)
_DECORATION = re.compile(r'[*_`"()\[\]]')
_VERDICTS: dict[str, Verdict] = {'a': 'first', 'b': 'second', 'tie': 'tie'}
_READ = 4000  # characters at the end of an answer that are searched for the verdict


@dataclasses.dataclass(frozen=True)
class Triple:
    """Table 7: how many questions each run explains better.

    Attributes:
      a_better: questions for which both orders prefer run A.
      both_good: all others: a tie, or orders that disagree.
      b_better: questions for which both orders prefer run B.
    """

    a_better: int
    both_good: int
    b_better: int

    @property
    def total(self) -> int:
        """How many questions were compared."""
        return self.a_better + self.both_good + self.b_better

    @property
    def p_value(self) -> float:
        """Of the exact sign test of A against B; questions where both are good are left out."""
        return sign_test(self.a_better, self.b_better)


def read_verdict(text: str) -> Verdict:
    r"""Returns which of the two explanations an answer prefers, in the order they were shown.

    The verdict is a line of its own, `Better explanation: A`, perhaps in bold or with a full stop;
    or it is all that the answer says. Lines that contradict each other are no verdict.

    Examples:
      >>> read_verdict('A miscounts the pens.\n**Better explanation: B**')
      'second'
      >>> read_verdict('The better explanation is hard to tell.')
      'unreadable'
    """
    lines = [
        _DECORATION.sub('', line).strip(' \t.').casefold() for line in text[-_READ:].splitlines()
    ]
    matches = [match for line in lines if (match := _VERDICT.fullmatch(line))]
    found: set[Verdict] = {_VERDICTS[match[1]] for match in matches}
    if not found and len(text) <= _READ:
        said = [line for line in lines if line]
        found = {_VERDICTS[said[0]]} if len(said) == 1 and said[0] in _VERDICTS else set()
    return found.pop() if len(found) == 1 else 'unreadable'


def count(pairs: Sequence[Pair], verdicts: Mapping[str, Mapping[RunName, Verdict]]) -> Triple:
    """Counts a question for a run only if both orders prefer that run.

    Args:
      pairs: the questions.
      verdicts: both of a question, by the run that was shown first; none for identical
        rationales. An unreadable one is a tie.
    """
    preferred = collections.Counter(_preferred(verdicts.get(pair.id, {})) for pair in pairs)
    return Triple(preferred['A'], preferred[None], preferred['B'])


def _preferred(orders: Mapping[RunName, Verdict]) -> RunName | None:
    runs: set[RunName | None] = set()
    for first, verdict in orders.items():
        second: RunName = 'B' if first == 'A' else 'A'
        better: dict[Verdict, RunName] = {'first': first, 'second': second}
        runs.add(better.get(verdict))
    return runs.pop() if len(runs) == 1 else None
