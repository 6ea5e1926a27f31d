"""From the raw text of an LLM's answer to its rationale and the answer it states.

The text may be megabytes of anything. What is longer than any answer is not looked at, and every
repetition in the patterns below is bounded or cannot start twice in the same run of characters, so
that the time taken grows with the length of the text and no faster.
"""

import json
import re
from collections.abc import Hashable, Sequence
from typing import NamedTuple

from qcrd_jax.data import turns
from qcrd_jax.data.answers import MAX_CHARACTERS, canonical, only_names
from qcrd_jax.data.chat import spoken
from qcrd_jax.data.closing import closing, without_courtesies
from qcrd_jax.data.markup import plain
from qcrd_jax.data.options import leading_letter
from qcrd_jax.data.schema import AnswerType
from qcrd_jax.data.statements import ENTRY, SEEKS, SENTENCE_END, VERIFIES, statement

MAX_TEXT = 200_000  # characters; a teacher that reasons at length writes some 100 000

_CUE = re.compile(
    r"""
      (?:\b(?:hence|so|thus|therefore|then|and)\b[,:]?\s{1,8})?
      (?:(?<![*_\#])[*_\#]{1,6}+\s?+){0,2}+(?:\bthe\s{1,8})?(?:\b(?:final|correct|right)\s{1,8})?
      \b(?:answer(?:\s(?:choice|option))?|ans|label|(?<=correct\s)(?:choice|option))
      [*_]{0,3}
      (?:\s{1,8}(?P<would>would\s{1,8}be|should\s{1,8}be)\b|\s{1,8}(?P<is>is)\b|\s{0,8}[:=])
      [*_]{0,3}(?:\s{0,8}:)?[*_]{0,3}
      (?:\s{0,8}(?:the\s{1,8})?answer\s{0,8}(?:is\b|:))?
      (?!\s{0,8}not\b)
    | \n[*_\#]{1,6}\s?(?:final\s)?answer[*_]{0,3}[ \t]{0,4}(?=\n)  # a heading
    | (?:(?:\\[\[(]|\${1,2})\s{0,8})?\\(?:boxed|fbox)\s{0,2}(?=\{)
    """,
    re.IGNORECASE | re.VERBOSE,
)
_CALCULATOR = re.compile(r'<<[^<>\n]{0,200}>>')  # GSM8K's annotations
_TAG = re.compile(
    r'<(?P<end>/)?(?:answer|final_answer|final|ans|label|choice|option|result)>', re.IGNORECASE
)
_OTHER_TAG = re.compile(
    r'</?(?:reasoning|rationale|explanation|solution|analysis|steps?|output|response)>',
    re.IGNORECASE,
)
_FENCED = re.compile(r'```[a-z]{0,10}\s{0,8}(?=\{)', re.IGNORECASE)
_ANSWER_KEYS = ('answer', 'final_answer', 'final answer', 'label', 'choice', 'prediction', 'result')
_REASON_KEYS = ('rationale', 'reasoning', 'explanation', 'thought', 'analysis', 'solution', 'steps')
_CONCLUSION = re.compile(r'\b(?:so|hence|therefore|thus|for a total of)\b', re.IGNORECASE)
_AFTERWARDS = re.compile(r'\n[ \t]{0,8}(?:Rationale|Explanation|Reasoning)\s?:', re.IGNORECASE)
_OPERATION = re.compile(r'[0-9]\s{0,8}[-+*/]\s{0,8}[0-9]')
# `12 hours in 2 days`: a number after such a word describes, it does not answer.
_DESCRIPTION = re.compile(
    r'(?<=[0-9])[^0-9]*?\s(?:in|for|with|than|of|after|from|per|by|when|if|using)\s.*', re.DOTALL
)
# Before the number it is how that is come by, as `a fifth of` is in `20 % of 80`.
_DERIVED = re.compile(
    r'[^0-9]*\b(?:by|adding|subtracting|multiplying|dividing)\b|.*[0-9]\s?%\s+of\s[$£€]?[0-9]',
    re.IGNORECASE | re.DOTALL,
)
_WHICH = re.compile(r'.*,\s+which\s+(?:is|equals|gives|makes)\s', re.IGNORECASE | re.DOTALL)
_HEAD = re.compile(
    r'\s{0,8}(?P<head>[^:.\n]{1,100})[:.](?=\s|$)(?!\s{0,4}(?:no|not|incorrect|wrong)\b)'
)
_SENTENCE = re.compile(r'(?<=[.!?])\s')
_LETTERED_LINE = re.compile(r'\n[ \t*-]{0,8}\(?[a-z][).:]', re.IGNORECASE)
_FINISHED = re.compile(r'[.!?][\s*_)\]}"\'’”`$]{0,20}$')
_MOST_CUES = 30  # that are compared with the last one
_MOST_LINES = 100  # and sentences of a line, that are searched for a list of candidates
_CUT_OFF = 300  # characters from which a text without a full stop was ended by a length limit
_SENTENCE_WORDS = 12  # of what is said behind a list of candidates
_FEW_WORDS = 8  # of a line that is an answer and nothing else


class _Found(NamedTuple):
    """Where an answer is stated: the reasoning for it, and the words of the statement."""

    rationale: str
    answer: str


def parse_answer(
    text: str, answer_type: AnswerType, options: Sequence[str] = ()
) -> tuple[str, str]:
    r"""Splits a teacher's raw text into its rationale and the answer it states.

    Args:
      text: what the teacher wrote after the question, possibly with turns of its own invention,
        with blocks of thinking, and with tokens of a chat template; none of these is read.
      answer_type: how the answer is going to be read.
      options: what the answer is one of, as in `canonical`.

    Returns:
      The rationale, without the statement of the answer, and the answer. The rationale is '' where
      nothing but an answer was given, the answer is '' where none can be read (it was never
      stated, was cut off, or states several values).

    Examples:
      >>> parse_answer('84 / 2 = 42. The answer is (84 / 2).\n\nQ: There are', 'equation')
      ('84 / 2 = 42.', '(84 / 2)')
      >>> parse_answer('Trains stop there. So the answer is (b).', 'choice', ['bank', 'station'])
      ('Trains stop there.', '(b)')
      >>> parse_answer('<think>11?</think>3 * 4 = 12\n#### 12', 'equation')
      ('3 * 4 = 12', '12')
    """
    turn = _turn(text)
    if not turn:
        return '', ''
    found = _stated(turn, answer_type, options) or _without_cue(turn, answer_type, options)
    rationale, answer = found
    answer, value = _readable(answer, answer_type, options)
    if value is None:
        return rationale, ''
    first, _, reasons = rationale.partition('\n')
    if (
        reasons  # after only the answer, and before the answer again
        and answer_type in ('choice', 'class')
        and _is_short(first)
        and canonical(first, answer_type, options) == value
    ):
        rationale = turns.without_opening(reasons.strip())
    return rationale, answer


def stated_answer(text: str, answer_type: AnswerType, options: Sequence[str] = ()) -> str:
    """Returns the answer that a text states as such; '' where it only ends in one, or in none.

    Args:
      text: as in `parse_answer`.
      answer_type: likewise.
      options: likewise.

    Examples:
      >>> stated_answer('84 / 2 = 42. The answer is 42.', 'equation')
      '42'
      >>> stated_answer('84 / 2 = 42.', 'equation')
      ''
    """
    found = _stated(_turn(text), answer_type, options)
    return _readable(found.answer, answer_type, options)[0] if found else ''


def _turn(text: str) -> str:
    """Returns what the teacher says in its own turn; '' where the text is no answer's."""
    if len(text) > MAX_TEXT:
        return ''
    # What is not Unicode (half of a surrogate pair) could not be written or tokenised.
    text = spoken(text.encode('utf-8', 'replace').decode('utf-8'))
    return turns.own_turn(_CALCULATOR.sub('', text), _CUE)


def _stated(turn: str, answer_type: AnswerType, options: Sequence[str]) -> _Found | None:
    """Returns an answer that is marked as such."""
    found = _in_json(turn) or _in_tags(turn) or _on_the_last_line(turn, answer_type, options)
    if found is not None:
        return found
    cues = list(_CUE.finditer(turn))
    cues = [cue for cue in cues if _concludes(turn, cue)] or cues
    if not cues:
        return None
    while len(cues) > 1 and VERIFIES.match(turn, cues[-1].end()):
        before = _said(turn, cues[-2])
        if _readable(before, answer_type, options)[1] is None:
            break
        del cues[-1]
    answer = _said(turn, cues[-1])
    return _Found(_reasoning(turn, _stating(turn, cues, answer_type, options)), answer)


def _stating(
    turn: str, cues: Sequence[re.Match[str]], answer_type: AnswerType, options: Sequence[str]
) -> Sequence[re.Match[str]]:
    """The cues from the first that states what the last one does; those before it are reasoning."""
    final = _readable(_said(turn, cues[-1]), answer_type, options)[1]
    if final is None:
        return cues
    for place, cue in enumerate(cues[:_MOST_CUES]):
        if _readable(_said(turn, cue), answer_type, options)[1] == final:
            while place and not turn[cues[place - 1].end() : cues[place].start()].strip():
                place -= 1  # `Answer:` right before `$\boxed{42}$`
            return cues[place:]
    return cues[-1:]


def _said(turn: str, cue: re.Match[str]) -> str:
    """What is said behind a cue; no answer is longer than what is looked at."""
    words = statement(turn[cue.end() : cue.end() + 2 * MAX_CHARACTERS])[0]
    # `(so the answer is 22)`
    return words[:-1] if words.endswith(')') and words.count(')') > words.count('(') else words


def _readable(
    answer: str, answer_type: AnswerType, options: Sequence[str]
) -> tuple[str, Hashable | None]:
    """Returns the words of an answer that have a value, and the value; '' and None without one."""
    answer = plain(answer) if len(answer) <= MAX_CHARACTERS else ''
    value = canonical(answer, answer_type, options)
    if value is None and answer_type == 'equation':
        if _DERIVED.match(answer):
            answer = _WHICH.sub('', answer) if _WHICH.match(answer) else ''
        answer = _DESCRIPTION.sub('', answer)
        value = canonical(answer, answer_type)
    return (answer, value) if value is not None else ('', None)


# --- Where the answer is marked as such -----------------------------------------------------------


def _in_json(turn: str) -> _Found | None:
    """Returns what an object `{"reasoning": ..., "answer": ...}` holds, fenced or not."""
    fences = list(_FENCED.finditer(turn))
    body = turn[fences[-1].end() :].removesuffix('```').strip() if fences else turn
    if not (body.startswith('{') and body.endswith('}') and '"' in body):
        return None
    try:
        value = json.loads(body, parse_int=str, parse_float=str, strict=False)
    except (ValueError, RecursionError):
        return None
    keys = {key.casefold(): entry for key, entry in value.items()}
    answer = next((keys[key] for key in _ANSWER_KEYS if isinstance(keys.get(key), str)), None)
    if answer is None:
        return None
    reasons = next((keys[key] for key in _REASON_KEYS if key in keys), '')
    if isinstance(reasons, list):
        reasons = '\n'.join(part for part in reasons if isinstance(part, str))
    cue = _CUE.search(answer)
    return _Found(
        reasons.strip() if isinstance(reasons, str) else '',
        statement(answer[cue.end() :])[0] if cue else answer,
    )


def _in_tags(turn: str) -> _Found | None:
    """Returns what stands in the last `<answer>`; one that is not closed ends with the text."""
    tags = list(_TAG.finditer(turn))
    begins = [tag for tag in tags if not tag['end']]
    if not begins:
        return None
    ends = [tag.start() for tag in tags if tag['end'] and tag.start() >= begins[-1].end()]
    answer = turn[begins[-1].end() : ends[0] if ends else len(turn)].strip()
    reasons = turn[: begins[0].start()]
    if not reasons.strip() and tags[-1]['end']:
        reasons = turn[tags[-1].end() :]
    reasons = turns.without_opening(_OTHER_TAG.sub('\n', reasons).strip())
    cues = list(_CUE.finditer(answer))
    if cues:
        answer = statement(answer[cues[-1].end() :])[0]
    return _Found(_reasoning(reasons, list(_CUE.finditer(reasons))), answer)


def _on_the_last_line(turn: str, answer_type: AnswerType, options: Sequence[str]) -> _Found | None:
    """Returns the answer on a last line that begins with `####`, as GSM8K's solutions end."""
    end = closing(turn)
    if end is None or not end.marked or canonical(plain(end.answer), answer_type, options) is None:
        return None
    # An answer may stand in front as well; any other that is stated on the way is a step.
    cues = list(_CUE.finditer(end.before)) if _CUE.match(end.before) else []
    return _Found(_reasoning(end.before, cues), end.answer)


def _concludes(turn: str, cue: re.Match[str]) -> bool:
    """Returns whether it is like `the answer is`; `the closest answer is` may be a reason."""
    before = turn[max(0, cue.start() - 20) : cue.start()]
    if cue['would'] or SEEKS.search(before):
        return False
    return not (cue['is'] and before[-2:].strip()[-1:].isalpha())


def _reasoning(turn: str, cues: Sequence[re.Match[str]]) -> str:
    """Returns the reasoning before the answer is stated, or that after it if it comes first."""
    if not cues:
        return turn
    before = turn[: cues[0].start()].strip(' ,;\n')
    if before:
        return before
    stop = cues[-1].start() if len(cues) > 1 else len(turn)
    return turns.without_opening(statement(turn[cues[0].end() : stop])[1].strip(' ,;\n'))


# --- Where it is not ------------------------------------------------------------------------------


def _without_cue(turn: str, answer_type: AnswerType, options: Sequence[str]) -> _Found:
    """Returns rationale and answer of a text that never says `the answer is`."""
    turn = without_courtesies(turn)
    if answer_type == 'equation':
        return _calculated(turn)
    if answer_type == 'text':  # any words could be one: only a text of few words is
        return _Found('', turn) if _is_short(turn) and '\n' not in turn else _Found(turn, '')
    statements = [
        _opening(turn, answer_type, options),
        _ending(turn, answer_type, options),
        _Found(turn, _conclusion(turn) if _CONCLUSION.search(turn) else ''),
    ]
    stated = {
        value: found
        for found in reversed(statements)
        if found and (value := canonical(plain(found.answer), answer_type, options)) is not None
    }
    return next(iter(stated.values())) if len(stated) == 1 else _Found(turn, '')


def _opening(turn: str, answer_type: AnswerType, options: Sequence[str]) -> _Found | None:
    """Returns an answer that stands in front: as a first line, or `B; ...`, `Library: ...`."""
    line, _, rest = turn.partition('\n')
    if _LETTERED_LINE.search(turn) or _candidates(turn, answer_type, options).several:
        return None
    if len(line) <= MAX_CHARACTERS and (_is_short(line) or leading_letter(plain(line))):
        last = canonical(plain(turn[-MAX_CHARACTERS:].rpartition('\n')[2]), answer_type, options)
        # A line with more than an answer, and another answer at the end, has a reason.
        named = leading_letter(plain(line)) or only_names(plain(line), answer_type, options)
        if named or last in (None, canonical(plain(line), answer_type, options)):
            return _Found(turn if rest else '', line)
    head = _HEAD.match(line)
    if head and only_names(plain(head['head']), answer_type, options):
        return _Found(turn, head['head'])
    return None


def _ending(turn: str, answer_type: AnswerType, options: Sequence[str]) -> _Found | None:
    """Returns an answer that stands behind: a last line or sentence, or behind candidates."""
    end = closing(turn)
    if end is None:
        return None
    candidates = _candidates(turn, answer_type, options)
    if only_names(plain(end.answer), answer_type, options):
        listed = candidates.several and ENTRY.match(end.answer)
        return None if listed or len(candidates.lines) > 1 else _Found(end.before, end.answer)
    if not candidates.several:
        before, _, sentence = end.answer.rpartition('? ')
        if before and only_names(plain(sentence), answer_type, options):
            return _Found(turn, sentence)
        return None
    words = end.answer.lower().split()
    # Behind candidates one sentence decides; `and` joins several, perhaps in other words.
    decides = len(words) <= _SENTENCE_WORDS and not {'and', 'or'}.intersection(words)
    if decides and ':' not in end.answer and not ENTRY.match(end.answer):
        return _Found(turn, end.answer)
    return None


class _Candidates(NamedTuple):
    """Options that stand one after another: as entries or in front of explanations, or as lines."""

    entries: frozenset[Hashable]
    lines: frozenset[Hashable]

    @property
    def several(self) -> bool:
        """Whether there is more than one, so that none is stated by being there."""
        return len(self.entries | self.lines) > 1


def _candidates(turn: str, answer_type: AnswerType, options: Sequence[str]) -> _Candidates:
    entries, lines = set(), set()
    for line in turn.split('\n', _MOST_LINES)[:_MOST_LINES]:
        entry = ENTRY.match(line)
        parts = [line[entry.end() :]] if entry else _SENTENCE.split(line, _MOST_LINES)
        for part in parts[:_MOST_LINES]:
            head = _HEAD.match(part)
            words = plain(head['head'] if head else part[:MAX_CHARACTERS])
            if only_names(words, answer_type, options):
                found = entries if entry or head else lines
                found.add(canonical(words, answer_type, options))
    return _Candidates(frozenset(entries), frozenset(lines))


def _calculated(turn: str) -> _Found:
    """Returns the end of a calculation."""
    end = closing(turn)
    if end and not end.bare and canonical(plain(end.answer), 'equation') is not None:
        return _Found(end.before, end.answer)
    # `36 + 13 = 49`, then an explanation that states no answer of its own.
    calculation = _AFTERWARDS.split(turn, maxsplit=1)[0]
    return _Found(turn if _reasons(turn) else '', _conclusion(calculation))


def _is_short(line: str) -> bool:
    return len(line) <= MAX_CHARACTERS and len(line.split()) <= _FEW_WORDS


def _conclusion(turn: str) -> str:
    """Returns the end of a calculation that never says `the answer is`: its last clause."""
    if len(turn) >= _CUT_OFF and not _FINISHED.search(turn[-30:]):
        return ''
    sentences = [part.strip() for part in SENTENCE_END.split(turn) if part.strip()]
    return _CONCLUSION.split(sentences[-1])[-1].strip(' ,') if sentences else ''


def _reasons(turn: str) -> bool:
    """Returns whether there is more than a bare number with its unit."""
    return len(turn.split()) > 2 or bool(_OPERATION.search(turn))
