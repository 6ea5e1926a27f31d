"""Synthetic word problems in the manner of SVAMP, with a noisy teacher.

The problems vary in numbers, names and things much more than in grammar, so that a tiny student
can learn them from scratch: which operation a story asks for, and which numbers to copy into it.
They are no benchmark; they are there so that all of the method runs anywhere, without a network,
and so that it can be studied where the truth is known.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from fractions import Fraction

import numpy as np

from qcrd_jax.data.schema import SPLITS, Example, SourceSplits, TeacherSample
from qcrd_jax.data.sources import stories
from qcrd_jax.data.sources.stories import Story
from qcrd_jax.data.teacher_output import parse_answer
from qcrd_jax.errors import InputError

TEACHER = 'mwp-teacher'

_SMALL = 9  # largest divisor and second factor
_ATTEMPTS = 1000  # draws in a row that may repeat a problem before we call them exhausted

_NAMES = (
    'Anna', 'Ben', 'Cara', 'Dan', 'Ella', 'Finn', 'Grace', 'Hugo', 'Ida', 'Jack', 'Kate', 'Liam',
    'Mary', 'Noah', 'Olga', 'Paul', 'Rosa', 'Sam', 'Tina', 'Victor', 'Wendy', 'Zoe', 'Amir', 'Mei',
)  # fmt: skip
_THINGS = (
    'pens', 'cups', 'coins', 'books', 'shells', 'cards', 'apples', 'eggs', 'stamps', 'balls',
    'nuts', 'bricks', 'plums', 'rings', 'toys', 'seeds', 'cakes', 'stones', 'keys', 'hats',
    'bowls', 'masks', 'ropes', 'tiles',
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Settings:
    """What determines the dataset, to the last character.

    Attributes:
      train: number of training problems.
      validation: number of validation problems.
      test: number of test problems.
      seed: of the problems and of the teacher's slips.
      max_number: largest number in a question.
      two_step: share of problems that take two operations.
      distractors: share of problems with a number that is not needed.
      operations: the operations that occur, some of '+-*/'.
      stories: at most so many stories per operation; a pair of operations has one at every fourth
        place (`data.stories`).
      first_story: the place of the first of them; datasets whose places do not overlap share no
        story.
      samples: rationales that the teacher gives per problem.
      teacher_temperature: of the teacher; it slips in a step with probability
        1 / (1 + exp(1 / temperature)): never at 0, 0.19 at 0.7, 0.34 at 1.5.
    """

    train: int = 20000
    validation: int = 200
    test: int = 500
    seed: int = 0
    max_number: int = 99
    two_step: float = 0.25
    distractors: float = 0.25
    operations: str = '+-*/'
    stories: int = 4
    first_story: int = 0
    samples: int = 5
    teacher_temperature: float = 0.7

    def __post_init__(self):
        self._check('train', self.train >= 1, 'at least 1')
        self._check('validation', self.validation >= 1, 'at least 1')
        self._check('test', self.test >= 1, 'at least 1')
        self._check('seed', self.seed >= 0, 'not negative')
        self._check('max_number', 9 <= self.max_number <= 999_999, 'between 9 and 999999')
        self._check('two_step', 0 <= self.two_step <= 1, 'a share between 0 and 1')
        self._check('distractors', 0 <= self.distractors <= 1, 'a share between 0 and 1')
        self._check('operations', self.operations and not set(self.operations) - set('+-*/'),
                    'some of +-*/')  # fmt: skip
        self._check('stories', self.stories >= 1, 'at least 1')
        self._check('first_story', self.first_story >= 0, 'not negative')
        self._check('samples', self.samples >= 0, 'not negative')
        self._check('teacher_temperature', self.teacher_temperature >= 0, 'not negative')
        self._check_stories()

    def _check(self, field: str, good: object, expected: str) -> None:
        if not good:
            raise InputError(
                f'data.mwp.{field}: expected {expected}, got {getattr(self, field)!r}.'
            )

    def _check_stories(self) -> None:
        """Refuses a choice of stories that leaves an operation, or two steps, without any."""
        if self.two_step and not stories.select(self.operations, 2, 0, stories.PLACES):
            raise InputError(
                f'data.mwp.two_step: no story of two steps uses only {self.operations!r}; set it '
                'to 0 or allow more of data.mwp.operations.'
            )
        told = ''.join(story.operations for story in self._stories(steps=1))
        missing = [operation for operation in self.operations if operation not in told]
        if self.two_step and not self._stories(steps=2):
            missing.append('two steps')
        if missing:
            raise InputError(
                f'data.mwp.first_story: no story is left for {", ".join(missing)} at the places '
                f'{self.first_story} to {self.first_story + self.stories - 1}. Those of one step '
                f'stand at 0 to {stories.PLACES - 1}, those of two steps at every '
                f'{stories.PAIR_STEP}th place from 0 on.'
            )

    def _stories(self, steps: int) -> list[Story]:
        return stories.select(self.operations, steps, self.first_story, self.stories)


@dataclasses.dataclass(frozen=True)
class Problem:
    """A word problem with its solution: `((a op b) op c)`, read from left to right."""

    question: str
    numbers: tuple[int, ...]
    operations: str
    unit: str
    distractor: int | None

    @property
    def label(self) -> str:
        """The solution as an equation, in the manner of SVAMP: `( ( 7 + 5 ) - 3 )`."""
        equation = str(self.numbers[0])
        for operation, number in zip(self.operations, self.numbers[1:], strict=True):
            equation = f'( {equation} {operation} {number} )'
        return equation


def generate(settings: Settings) -> SourceSplits:
    """Writes the problems of all splits and the teacher's answers to them.

    The same settings give the same dataset. No question occurs twice, within or across splits.

    Raises:
      InputError: if the settings do not allow so many different problems.
    """
    seen: set[str] = set()
    splits = {}
    # Test first: its problems then depend on neither the number of training problems nor on theirs.
    for split in reversed(SPLITS):
        random = np.random.default_rng([settings.seed, SPLITS.index(split)])
        splits[split] = list(_examples(settings, split, random, seen))
    return {split: splits[split] for split in SPLITS}


def _examples(
    settings: Settings, split: str, random: np.random.Generator, seen: set[str]
) -> Iterator[Example]:
    pools = {steps: settings._stories(steps) for steps in (1, 2)}
    for number in range(getattr(settings, split)):
        for _ in range(_ATTEMPTS):
            problem = _draw_problem(settings, pools, random)
            if problem.question not in seen:
                break
        else:
            raise InputError(
                f'data.mwp.{split}: only {number} different problems were found of the '
                f'{getattr(settings, split)} asked for; ask for fewer, or raise '
                'data.mwp.max_number.'
            )
        seen.add(problem.question)
        yield Example(
            id=f'mwp-{split}-{number:06d}',
            input=problem.question,
            label=problem.label,
            samples=tuple(
                _ask_teacher(problem, settings.teacher_temperature, random)
                for _ in range(settings.samples)
            ),
        )


# --- Problems -------------------------------------------------------------------------------------


def _draw_problem(
    settings: Settings, pools: dict[int, list[Story]], random: np.random.Generator
) -> Problem:
    pool = pools[2 if random.random() < settings.two_step else 1]
    story = pool[random.integers(len(pool))]
    numbers = _draw_numbers(story.operations, settings.max_number, random)
    name, other = _draw_two(_NAMES, random)
    things, other_things = _draw_two(_THINGS, random)
    words = {'name': name, 'other': other, 'things': things}
    words |= {letter: str(number) for letter, number in zip('abc', numbers, strict=False)}
    sentences = [story.facts.format(**words)]
    distractor = None
    if random.random() < settings.distractors:
        distractor = numbers[0]
        while distractor in numbers:
            distractor = int(random.integers(2, settings.max_number + 1))
        aside = f'{name} also sees {distractor} {other_things}.'
        sentences.insert(int(random.integers(2)), aside)
    sentences.append(story.question.format(**words))
    unit = story.unit or things
    return Problem(' '.join(sentences), numbers, story.operations, unit, distractor)


def _draw_numbers(operations: str, largest: int, random: np.random.Generator) -> tuple[int, ...]:
    """Draws operands whose intermediate results are whole and positive."""
    limits = [largest] + [_SMALL if operation in '*/' else largest for operation in operations]
    while True:
        numbers = tuple(int(random.integers(2, limit + 1)) for limit in limits)
        result = Fraction(numbers[0])
        for operation, number in zip(operations, numbers[1:], strict=True):
            result = _calculate(result, operation, Fraction(number))
            if result < 1 or result.denominator != 1:
                break
        else:
            return numbers


def _draw_two(words: Sequence[str], random: np.random.Generator) -> tuple[str, str]:
    first = int(random.integers(len(words)))
    second = (first + 1 + int(random.integers(len(words) - 1))) % len(words)
    return words[first], words[second]


def _calculate(left: Fraction, operation: str, right: Fraction) -> Fraction:
    if operation == '+':
        return left + right
    if operation == '-':
        return left - right
    return left * right if operation == '*' else left / right


# --- The noisy teacher ----------------------------------------------------------------------------

_INSTRUCTIONS = {
    '+': 'Add {x} and {y}.',
    '-': 'Take {y} from {x}.',
    '*': 'Multiply {x} by {y}.',
    '/': 'Divide {x} by {y}.',
}
_FORMS = (
    '{instruction} {x} {op} {y} = {z} {things}.',
    'That is {x} {op} {y} = {z} {things}.',
    'We have {x} and {y}. {x} {op} {y} = {z} {things}.',
)
_ARITHMETIC_SLIPS = (-10, -2, -1, 1, 2, 10)


def _ask_teacher(
    problem: Problem, temperature: float, random: np.random.Generator
) -> TeacherSample:
    """Writes one rationale, in which each step may slip, and reads it as any teacher's answer."""
    slip_rate = 1 / (1 + np.exp(1 / temperature)) if temperature else 0.0
    form = _FORMS[random.integers(len(_FORMS))]
    result = Fraction(problem.numbers[0])
    sentences = []
    for operation, number in zip(problem.operations, problem.numbers[1:], strict=True):
        left, right, error = result, Fraction(number), 0
        if random.random() < slip_rate:
            left, operation, right, error = _slip(left, operation, right, problem, random)
        result = round(_calculate(left, operation, right) + error, 2)
        x, y, z = (_spell(value) for value in (left, right, result))
        instruction = _INSTRUCTIONS[operation].format(x=x, y=y)
        sentences.append(
            form.format(instruction=instruction, x=x, op=operation, y=y, z=z, things=problem.unit)
        )
    text = f'{" ".join(sentences)} The answer is {_spell(result)}.'
    rationale, answer = parse_answer(text, 'equation')
    return TeacherSample(text=text, rationale=rationale, answer=answer, source=TEACHER)


def _slip(
    left: Fraction,
    operation: str,
    right: Fraction,
    problem: Problem,
    random: np.random.Generator,
) -> tuple[Fraction, str, Fraction, int]:
    """Returns the step (left, operation, right, error of the result) with one mistake in it."""
    slips = ['operation', 'arithmetic']
    if operation in '-/' and left:
        slips.append('swap')
    if problem.distractor is not None:
        slips.append('distractor')
    match slips[random.integers(len(slips))]:
        case 'swap':
            return right, operation, left, 0
        case 'distractor' if problem.distractor is not None:
            return left, operation, Fraction(problem.distractor), 0
        case 'operation':
            others = [other for other in '+-*' if other != operation]
            return left, others[random.integers(len(others))], right, 0
        case _:
            error = _ARITHMETIC_SLIPS[random.integers(len(_ARITHMETIC_SLIPS))]
            return left, operation, right, error


def _spell(value: Fraction) -> str:
    """Writes a number with at most two decimals, whole ones without."""
    return str(value.numerator) if value.denominator == 1 else f'{float(value):.2f}'.rstrip('0')
