"""What a judge answers: verdicts, and how many questions they make each run the better one of."""

import collections
import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Literal

from qcrd_jax.data.chat import spoken
from qcrd_jax.evaluation.significance import sign_test
from qcrd_jax.teacher.judge_pairs import Pair, RunName

Verdict = Literal['first', 'second', 'tie', 'unreadable']

_READ = 20_000  # characters at the end of an answer that are searched for the verdict

# What holds a verdict without a line of its own is given one: `[[A]]`, a tag, a box, a pair of
# JSON, and our own words behind a sentence.
_KEY = 'better[_ ]explanation|winner|verdict|(?:final_)?(?:answer|decision)'
_DOUBLE = re.compile(r'\[\[\s?(A|B|tie|C)\s?\]\]', re.IGNORECASE)  # C: a tie, as in MT-bench
_TAG = re.compile(rf'<(/?)({_KEY})>', re.IGNORECASE)
_OTHER_TAG = re.compile(
    r'</?(?:(b|i|u|em|strong|code)|p|br|(?!tie>)[a-z][a-z_]{2,30}) ?/?>', re.IGNORECASE
)
_BOX = re.compile(r'\\(?:boxed|fbox)\s?\{')
_JSON = re.compile(
    rf'"({_KEY})"\s{{0,4}}:\s{{0,4}}(?:"([^"\\\n]{{1,80}})"|([12])\b)', re.IGNORECASE
)
_BEHIND = re.compile(
    r'(?<=[.!?])[ \t]{1,4}(?=[*_"`]{0,3}better explanation[*_]{0,3}\s?:)', re.IGNORECASE
)

# What stands around the words of a line: bullets, numbers, emphasis, quotes, pictures.
_MARKS = re.compile(r'\\(?:text|math)(?:bf|it|rm)?\b|\\[()\[\]]|[*`"“”~#|{}$]')
_ENCLOSED = re.compile(r"[(\[<'‘]\s?((?:explanation )?(?:[ab12]|tie))\s?[)\]>'’]")
_BEFORE = re.compile(r'[^\w]*(?:[0-9]{1,2}[.)]\s)?[^\w]*')
_AFTER = re.compile(r'(?<![^\w?)+])[^\w?)+]+$')

_LABEL = re.compile(
    r"""
    (?:(?:so|thus|hence|therefore|overall|my|final),?\s){0,3}
    (?: (?P<strong>(?:better|best|preferred|winning)\sexplanation|verdict|decision|judge?ment|winner
                   |preference)
      | answer|conclusion|choice|selection )
    (?:\s?(?::|=|->|→|[-–—])\s?|$)
    """,
    re.VERBOSE,
)
_CHOICE = re.compile(
    r"""
    (?: (?P<tie>(?:it\sis\s|it's\s)?(?:an?\s)?(?:tied?|draw|equal(?:ly\sgood)?)
               |both(?:\sexplanations)?(?:\sare)?(?:\sequal|\sequally\sgood|\sgood)?)
      | (?P<noun>explanation\s|option\s|rationale\s)?(?P<name>[ab12]) )
    (?:\s(?:is\s(?:\w{2,12}ly\s)?(?:the\s)?(?:better|best|winner|superior|more\saccurate)
           (?:\s(?:one|explanation))?|wins)\b)?
    (?P<rest>\W.*|)
    """,
    re.VERBOSE,
)
_REASON = re.compile(r'\s?\(|[,:;.]?\s[-–—]{0,2}\s?(?:because|since|as|due\sto)\b')
_SENTENCE = re.compile(r'[.;:]\s|,?\s[-–—]{0,2}\s?(?:it|not)\b')
# Behind a choice, what takes it back, or may: such words, or the other one called better.
_DOUBT = re.compile(
    r'\?|\b(?:but|however|although|though|yet|or|tied?|both|equal|equally|neither|either|unless|'
    r'depends?|wait|actually|maybe|perhaps|possibly|might|could|unsure|unclear)\b'
)
_OTHER = {'first': re.compile(r'\bb\b'), 'second': re.compile(r'\b(?:explanation a|a is)\b')}
_BETTER = re.compile(r'\?|\b(?:but|or|better|stronger|prefer)')
# A line that is only a choice, in marks that were opened and closed.
_BARE = re.compile(
    r'[\s>-]*(?:[*_]{2,3}[("]?|[("`])(?:explanation )?(a|b|tie)\.?(?:[)"]?[*_]{2,3}|[)"`])[.\s]*',
    re.IGNORECASE,
)
_ALONE = re.compile(r'(?:explanation )?([ab12])|tie')
_VERDICTS: dict[str, Verdict] = {
    'a': 'first', '1': 'first', 'b': 'second', '2': 'second', 'tie': 'tie',
}  # fmt: skip


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

    The verdict is a line of its own, `Better explanation: A`, or a heading with the choice under
    it, in whatever Markdown, LaTeX, tags or JSON; or it is all that the answer says. What a model
    thinks and the tokens of its template are no part of the answer. Verdicts that contradict each
    other, and one that its own line takes back, are none.

    Examples:
      >>> read_verdict('<think>Is A better?</think>A slips.\n**Better explanation: B**<|im_end|>')
      'second'
      >>> read_verdict('### Final verdict\n\nExplanation A')
      'first'
      >>> read_verdict('The better explanation is hard to tell.')
      'unreadable'
    """
    said = spoken(text).strip()
    whole = len(said) <= _READ
    if not whole:
        said = said[-_READ:].partition('\n')[2]  # without the line that the cut went through
    lines = _with_lines_of_their_own(said).splitlines()
    found: set[Verdict | None] = _labelled([words for line in lines if (words := _words(line))])
    if not found:
        bare = [(line, match) for line in lines if (match := _BARE.fullmatch(line))]
        last = next((line for line in reversed(lines) if line.strip()), '')
        if bare and bare[-1][0] == last:
            found = {_verdict(match[1]) for _, match in bare}
    if not found and whole and (alone := _ALONE.fullmatch(_words(' '.join(lines)))):
        found = {_verdict(alone[1])}
    verdict = found.pop() if len(found) == 1 else None
    return verdict or 'unreadable'


def _with_lines_of_their_own(text: str) -> str:
    text = _DOUBLE.sub(lambda m: f'\nverdict: {"tie" if m[1] in "cC" else m[1]}\n', text)
    text = _TAG.sub(lambda m: '\n' if m[1] else f'\n{m[2]}: ', text)
    text = _OTHER_TAG.sub(lambda m: '' if m[1] else '\n', text)
    text = _JSON.sub(lambda m: f'\n{m[1]}: {m[2] or m[3]}\n', text)
    return _BEHIND.sub('\n', _BOX.sub('\nanswer: ', text))


def _words(line: str) -> str:
    """Returns a line in lower case, without what stands around its words."""
    line = _MARKS.sub('', line.replace('_', ' ').replace('：', ':')).casefold()
    line = _ENCLOSED.sub(r'\1', ' '.join(line.split()))
    return _AFTER.sub('', _BEFORE.sub('', line, count=1))


def _labelled(lines: Sequence[str]) -> set[Verdict | None]:
    """Returns what the lines with a label say; None is a number that is no choice.

    `Answer: A` only counts where nothing has a clearer label, and first or last of all, and never
    as a number: it may be the question's own answer that is told again.
    """
    strong: set[Verdict | None] = set()
    weak: set[Verdict | None] = set()
    for place, line in enumerate(lines):
        is_strong, end = False, 0
        while end < len(line) and (label := _LABEL.match(line, end)):
            is_strong, end = is_strong or bool(label['strong']), label.end()
        if not end:
            continue
        below = end == len(line)  # a heading's choice is on the next line
        said = ''.join(lines[place + 1 : place + 2]) if below else line[end:]
        verdict, is_number = _choice(said, sentences=not below), said[:1].isdigit()
        if is_strong and (verdict or is_number):
            strong.add(verdict)
        elif verdict and not is_number and (place == 0 or place + 1 + below == len(lines)):
            weak.add(verdict)
    return strong or weak


def _choice(said: str, *, sentences: bool) -> Verdict | None:
    """Returns the choice that some words begin with, unless what follows takes it back.

    Args:
      said: the words behind a label, or on the line below it.
      sentences: whether more sentences may follow; below a heading, `A. ...` may begin a list.
    """
    choice = _CHOICE.fullmatch(said)
    if choice is None:
        return None
    verdict, rest = _verdict(choice['name']), choice['rest']
    if not rest:
        return verdict
    if choice['name'] in ('1', '2') and not choice['noun']:  # `2 (of 5)` is a mark
        return None
    follows = _REASON.match(rest) or (sentences and _SENTENCE.match(rest))
    return verdict if follows and not _taken_back(verdict, rest) else None


def _taken_back(verdict: Verdict, rest: str) -> bool:
    better = bool(_BETTER.search(rest))
    if verdict == 'tie':
        return better
    return bool(_DOUBT.search(rest)) or (better and bool(_OTHER[verdict].search(rest)))


def _verdict(name: str | None) -> Verdict:
    return _VERDICTS[(name or 'tie').casefold()]


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
