"""What a dataset holds: how much can be read, and how much of what its teachers say is right."""

import collections
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from qcrd_jax.data.answers import canonical
from qcrd_jax.data.schema import AnswerType, Example
from qcrd_jax.data.self_consistency import canonical_answers, majority, training_label, vote_share
from qcrd_jax.data.unknown import TEXTS, Share


class Vote(NamedTuple):
    """What self-consistency makes of the samples of one question.

    Attributes:
      answer: the majority's, in its own words; '' if nothing can be read.
      share: of the samples that agree with it.
      right: whether it is the gold answer.
    """

    answer: str
    share: float
    right: bool


@dataclasses.dataclass
class TeacherCounts:
    """The answers of one teacher.

    Attributes:
      answers: how many it gave.
      read: of how many an answer could be read.
      right: how many state the label's value.
      with_rationale: how many hold a rationale.
    """

    answers: int = 0
    read: int = 0
    right: int = 0
    with_rationale: int = 0


@dataclasses.dataclass
class SplitCounts:
    """A split, of every question the first K samples.

    Attributes:
      questions: how many.
      answered: how many of them have a sample.
      samples: of all questions.
      unreadable: samples of which no answer can be read.
      right: samples that state the gold answer.
      votes_right: questions whose majority states the gold answer.
      only_positive: questions with samples that are all right (Table A2).
      only_negative: questions with samples none of which is right.
      vote_share: sum over the answered questions of the majority's share.
      teachers: by name, in the order in which they first appear.
    """

    questions: int = 0
    answered: int = 0
    samples: int = 0
    unreadable: int = 0
    right: int = 0
    votes_right: int = 0
    only_positive: int = 0
    only_negative: int = 0
    vote_share: float = 0.0
    teachers: dict[str, TeacherCounts] = dataclasses.field(
        default_factory=lambda: collections.defaultdict(TeacherCounts)
    )

    def add(self, example: Example, answer_type: AnswerType, samples: int) -> Vote | None:
        """Counts one question; returns the vote of its first K samples, None without samples."""
        self.questions += 1
        used = example.samples[:samples]
        if not used:
            return None
        gold = canonical(example.label, answer_type, example.options)
        answers = canonical_answers(used, answer_type, example.options)
        rights = [answer is not None and answer == gold for answer in answers]
        for sample, answer, right in zip(used, answers, rights, strict=True):
            teacher = self.teachers[sample.source]
            teacher.answers += 1
            teacher.read += answer is not None
            teacher.right += right
            teacher.with_rationale += bool(sample.rationale)
        winner = majority(answers)
        vote = Vote(
            answer=training_label(example, answer_type, 'self_consistency', samples),
            share=vote_share(answers),
            right=winner is not None and winner == gold,
        )
        self.answered += 1
        self.samples += len(used)
        self.unreadable += sum(answer is None for answer in answers)
        self.right += sum(rights)
        self.votes_right += vote.right
        self.only_positive += all(rights)
        self.only_negative += not any(rights)
        self.vote_share += vote.share
        return vote

    def report(self, truncated: int) -> dict[str, Any]:
        """Returns what `prepare.json` says of a split; shares are None without samples.

        Args:
          truncated: sequences that the length caps cut.
        """
        return {
            'questions': self.questions,
            'samples': self.samples,
            'unreadable': self.unreadable,
            'right_per_question': _ratio(self.right, self.answered),
            'sample_accuracy': _ratio(self.right, self.samples),
            'vote_accuracy': _ratio(self.votes_right, self.answered),
            'only_positive': _ratio(self.only_positive, self.answered),
            'only_negative': _ratio(self.only_negative, self.answered),
            'truncated': truncated,
        }


def prepare_tables(
    splits: Mapping[str, SplitCounts],
    truncated: Mapping[str, int],
    unknown: Mapping[str, Mapping[str, Share]] | None = None,
) -> str:
    """Returns as Markdown what was read of each split, and of each teacher in it.

    Args:
      splits: the counts by split.
      truncated: sequences that the length caps cut, by split.
      unknown: tokens that the tokenizer has no piece for, by split and kind of text.
    """
    columns = list(splits.items())
    rows = {
        'questions': [c.questions for _, c in columns],
        'questions without samples': [c.questions - c.answered for _, c in columns],
        'samples': [c.samples for _, c in columns],
        'samples per question': [_mean(c.samples, c.questions) for _, c in columns],
        'unreadable answers': [_share(c.unreadable, c.samples) for _, c in columns],
        'accuracy of a sample': [_percent(c.right, c.samples) for _, c in columns],
        'accuracy of the vote': [_percent(c.votes_right, c.answered) for _, c in columns],
        'share of the vote': [_percent(c.vote_share, c.answered) for _, c in columns],
        'right samples per question': [_mean(c.right, c.answered) for _, c in columns],
        'questions with only right ones': [_share(c.only_positive, c.answered) for _, c in columns],
        'questions with only wrong ones': [_share(c.only_negative, c.answered) for _, c in columns],
        'sequences cut': [truncated[split] for split, _ in columns],
    }
    for kind in TEXTS if unknown else ():
        shares = [(unknown or {})[split][kind] for split, _ in columns]
        rows[f'unknown tokens of {kind}s'] = [_fine_share(*share) for share in shares]
    tables = [_table(['', *splits], [[name, *cells] for name, cells in rows.items()])]
    teachers = [
        [
            split,
            name,
            teacher.answers,
            _share(teacher.read, teacher.answers),
            _share(teacher.right, teacher.answers),
            _share(teacher.with_rationale, teacher.answers),
        ]
        for split, counts in columns
        for name, teacher in counts.teachers.items()
    ]
    if teachers:
        names = ['split', 'teacher', 'answers', 'read', 'right', 'with rationale']
        tables.append(_table(names, teachers))
    return '\n\n'.join(tables)


def _table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [list(map(str, line)) for line in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ['-' * width for width in widths])
    return '\n'.join('| ' + ' | '.join(map(str.ljust, line, widths)) + ' |' for line in lines)


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _mean(total: int, number: int) -> str:
    return f'{total / number:.2f}' if number else '-'


def _percent(part: int | float, whole: int) -> str:
    return f'{part / whole:.1%}' if whole else '-'


def _fine_share(whole: int, part: int) -> str:
    return f'{part} ({part / whole:.2%})' if whole else '-'


def _share(part: int, whole: int) -> str:
    return f'{part} ({part / whole:.1%})' if whole else '-'
