"""Which of a teacher's samples teach, and which warn: the denoising of section 3.2.1."""

from collections.abc import Hashable, Sequence
from typing import NamedTuple

from qcrd_jax.data.answers import canonical
from qcrd_jax.data.schema import AnswerType, Example, LabelsRule, PositivesRule, TeacherSample


class SplitSamples(NamedTuple):
    """The rationales of one question, the good and the bad ones.

    Attributes:
      positives: rationales whose answer is the one held to be right.
      negatives: the other rationales.
      vote: the canonical answer held to be right; None where there is none.
    """

    positives: tuple[str, ...]
    negatives: tuple[str, ...]
    vote: Hashable | None


def split_samples(
    samples: Sequence[TeacherSample],
    label: str,
    answer_type: AnswerType,
    how: PositivesRule = 'self_consistency',
    options: Sequence[str] = (),
) -> SplitSamples:
    """Splits a teacher's samples into positives and negatives.

    A sample whose answer cannot be read is a negative. A sample without a rationale still votes,
    but there is nothing of it to learn from. A rationale that stands among the positives word for
    word is no negative too, whatever answer followed it: it would be pulled and pushed at once.

    Args:
      samples: the teacher's samples in the order they were drawn.
      label: the gold label; only read by 'gold'.
      answer_type: how answers are compared.
      how: 'self_consistency': the answer is the majority's over canonical answers, ties go to the
        answer seen first, and with no readable answer there is no positive. 'gold': the answer is
        the label's. 'first': the first rationale is the one positive and nothing is a negative,
        which is what Distilling step-by-step trains on.
      options: of the question, see `schema.Example`.

    Returns:
      The positives, the negatives and the answer that decided.
    """
    if how == 'first':
        first = next((sample for sample in samples if sample.rationale), None)
        if first is None:
            return SplitSamples((), (), None)
        return SplitSamples((first.rationale,), (), canonical(first.answer, answer_type, options))

    answers = canonical_answers(samples, answer_type, options)
    vote = canonical(label, answer_type, options) if how == 'gold' else majority(answers)
    positives = tuple(
        sample.rationale
        for sample, answer in zip(samples, answers, strict=True)
        if sample.rationale and answer is not None and answer == vote
    )
    negatives = tuple(
        sample.rationale
        for sample, answer in zip(samples, answers, strict=True)
        if sample.rationale
        and (answer is None or answer != vote)
        and sample.rationale not in positives
    )
    return SplitSamples(positives, negatives, vote)


def canonical_answers(
    samples: Sequence[TeacherSample], answer_type: AnswerType, options: Sequence[str] = ()
) -> list[Hashable | None]:
    """Returns what each sample states, None where nothing can be read."""
    return [canonical(sample.answer, answer_type, options) for sample in samples]


def majority(answers: Sequence[Hashable | None]) -> Hashable | None:
    """Returns the most frequent answer, the earlier of equals, or None if all are None.

    Examples:
      >>> majority(['b', None, 'a', 'a', 'b'])
      'b'
    """
    counts: dict[Hashable, int] = {}
    for answer in answers:
        if answer is not None:
            counts[answer] = counts.get(answer, 0) + 1
    # `max` keeps the first of equals, and a dict keeps the order in which answers were first seen.
    return max(counts, key=counts.__getitem__, default=None)


def vote_share(answers: Sequence[Hashable | None]) -> float:
    """Returns the share of all answers, unreadable ones too, that agree with the majority.

    Examples:
      >>> vote_share(['b', None, 'a', 'b'])
      0.5
    """
    vote = majority(answers)
    return sum(answer == vote for answer in answers) / len(answers) if vote is not None else 0.0


def training_label(example: Example, answer_type: AnswerType, how: LabelsRule, samples: int) -> str:
    """Returns the label that a student is trained on: the gold one, or an LLM's (Table 3).

    Args:
      example: the question with its samples.
      answer_type: how answers are compared.
      how: 'gold'; 'teacher': what the first sample states, which is the LLM without
        self-consistency; 'self_consistency': what the majority of the samples states, in the words
        of the first of them.
      samples: K, of the samples the first K are used.

    Returns:
      The label, '' where the LLM states none that can be read.
    """
    if how == 'gold':
        return example.label
    used = example.samples[: samples if how == 'self_consistency' else 1]
    answers = canonical_answers(used, answer_type, example.options)
    vote = majority(answers)
    if vote is None:
        return ''
    return in_words_of(vote, used[answers.index(vote)].answer, answer_type, example.options)


def in_words_of(
    value: Hashable, stated: str, answer_type: AnswerType, options: Sequence[str]
) -> str:
    """Returns the option that a canonical answer names; the answer as stated without options."""
    named = (option for option in options if canonical(option, answer_type, options) == value)
    return next(named, stated)
