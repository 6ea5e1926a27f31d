"""What a question with its teacher's answers is, wherever it came from."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

AnswerType = Literal['equation', 'choice', 'class', 'text']
PositivesRule = Literal['self_consistency', 'gold', 'first']
LabelsRule = Literal['gold', 'teacher', 'self_consistency']

NLI_CLASSES = ('entailment', 'neutral', 'contradiction')
SEPARATOR = '</s>'  # between premise and hypothesis, as DSS has it: the text of T5's EOS


@dataclasses.dataclass(frozen=True)
class TeacherSample:
    """One answer that a teacher gave to a question.

    Attributes:
      text: the answer as the teacher wrote it.
      rationale: its reasoning, without the statement of the answer; '' where there is none.
      answer: the stated answer; '' where none can be read.
      source: who gave it.
      score: how good it is, as somebody else judged, a reward model for instance; None: not said.
    """

    text: str
    rationale: str
    answer: str
    source: str
    score: float | None = None


@dataclasses.dataclass(frozen=True)
class Example:
    """One question with its gold label and the teacher's samples, in the order they were drawn.

    Attributes:
      id: unlike any other of its dataset.
      input: the question as the student reads it, without a prefix.
      label: the gold answer.
      samples: the teacher's.
      options: what an answer is one of: the choices of a question in the order (a), (b), ..., or
        the classes of a dataset; () where answers are equations or free text.
    """

    id: str
    input: str
    label: str
    samples: tuple[TeacherSample, ...] = ()
    options: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, eq=False)
class ExampleStream:
    """Examples that are read as they are asked for, however many there are.

    Attributes:
      length: how many there are.
      read: starts anew and yields them in order.
    """

    length: int
    read: Callable[[], Iterator[Example]]

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[Example]:
        return self.read()


SPLITS = ('train', 'validation', 'test')

Splits = dict[str, Sequence[Example]]
"""The examples of a dataset by split, which is 'train', 'validation' or 'test'."""

SourceSplits = dict[str, Sequence[Example] | ExampleStream]
"""The same as a source has them, where 'validation' may be missing."""
