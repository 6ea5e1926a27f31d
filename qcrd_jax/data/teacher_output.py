"""From the raw text of an LLM's answer to its rationale and the answer it states.

The text may be megabytes of anything. What is longer than any answer is not looked at, and every
repetition in the patterns below is bounded or cannot start twice in the same run of characters, so
that the time taken grows with the length of the text and no faster.
"""

import re
from collections.abc import Sequence

from qcrd_jax.data.answers import MAX_CHARACTERS, canonical
from qcrd_jax.data.markup import plain
from qcrd_jax.data.schema import AnswerType

MAX_TEXT = 200_000  # characters; a teacher that reasons at length writes some 100 000

# A few-shot prompted model adds questions of its own: nothing from there on is an answer.
_NEXT_TURN = re.compile(
    r"""
      \n[ \t*_#]{0,8}(?:Q|Question|Input|Problem|Human|User)[ \t]{0,2}[0-9]{0,4}[ \t*_]{0,4}[:.]
    | \n\#{2,6}[ \t]{0,4}(?:Instruction|Question|Input|Problem|Example|Task)\b
    | \n\#{2,6}[ \t]{0,4}\n
    | \bQ:
    """,
    re.IGNORECASE | re.VERBOSE,
)
_PREMISE = re.compile(r'\bpremise[*_]{0,3}:', re.IGNORECASE)
_OPENING = re.compile(
    r'\s*[*_#]{0,6}\s?(?:A[*_]{0,3}\s?:|(?:Rationale|Explanation|Reasonings?)[*_]{0,3}\s?[:\n])'
    r'[*_]{0,3}\s*',
    re.IGNORECASE,
)
_CUE = re.compile(
    r"""
      (?:\b(?:hence|so|thus|therefore|then|and)\b[,:]?\s{1,8})?
      (?:(?<![*_\#])[*_\#]{1,6}+\s?+){0,2}+(?:\bthe\s{1,8})?(?:\b(?:final|correct|right)\s{1,8})?
      \b(?:answer(?:\s(?:choice|option))?|label|(?<=correct\s)(?:choice|option))
      [*_]{0,3}
      (?:\s{1,8}(?P<would>would\s{1,8}be|should\s{1,8}be)\b|\s{1,8}(?P<is>is)\b|\s{0,8}:)
      [*_]{0,3}\s{0,8}:?
      (?:\s{0,8}(?:the\s{1,8})?answer\s{0,8}(?:is\b|:))?
      (?!\s{0,8}not\b)
    | \n[*_\#]{1,6}\s?(?:final\s)?answer[*_]{0,3}[ \t]{0,4}\n  # a heading
    | (?:(?:\\[\[(]|\${1,2})\s{0,8})?\\(?:boxed|fbox)\s{0,2}(?=\{)
    """,
    re.IGNORECASE | re.VERBOSE,
)
_SENTENCE_END = re.compile(r'[.!?](?=\s|$)|\n')
_LETTER_POINT = re.compile(r'[*_]{0,3}[A-Za-z]\.\s')
_CONCLUSION = re.compile(r'\b(?:so|hence|therefore|thus|for a total of)\b', re.IGNORECASE)
_AFTERWARDS = re.compile(r'\n[ \t]{0,8}(?:Rationale|Explanation|Reasoning)\s?:', re.IGNORECASE)
_OPERATION = re.compile(r'[0-9]\s{0,8}[-+*/]\s{0,8}[0-9]')
# `12 hours in 2 days`: a number after such a word describes, it does not answer.
_DESCRIPTION = re.compile(
    r'(?<=[0-9])[^0-9]*?\s(?:in|for|with|than|of|after|from|per)\s.*', re.DOTALL
)
_LETTERED_LINE = re.compile(r'\n[ \t*-]{0,8}\(?[a-z][).:]', re.IGNORECASE)
_CUT_OFF = 300  # characters from which a text without a full stop was ended by a length limit
_FEW_WORDS = 8  # of a line that is an answer and nothing else


def parse_answer(
    text: str, answer_type: AnswerType, options: Sequence[str] = ()
) -> tuple[str, str]:
    r"""Splits a teacher's raw text into its rationale and the answer it states.

    Args:
      text: what the teacher wrote after the question, possibly with turns of its own invention.
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
    """
    if len(text) > MAX_TEXT:
        return '', ''
    # What is not Unicode (half of a surrogate pair) could not be written or tokenised.
    turn = _first_turn(text.encode('utf-8', 'replace').decode('utf-8'))
    cues = list(_CUE.finditer(turn))
    cues = [cue for cue in cues if _concludes(turn, cue)] or cues
    if cues:
        rationale = _reasoning(turn, cues)
        answer = _statement(turn[cues[-1].end() :])[0]
    else:
        rationale, answer = _without_cue(turn, answer_type, options)
    answer = plain(answer) if len(answer) <= MAX_CHARACTERS else ''
    value = canonical(answer, answer_type, options)
    if value is None and answer_type == 'equation':
        answer = _DESCRIPTION.sub('', answer)
        value = canonical(answer, answer_type)
    if value is None:
        return rationale, ''
    first, _, reasons = rationale.partition('\n')
    if (
        reasons  # after only the answer, and before the answer again
        and answer_type in ('choice', 'class')
        and _is_short(first)
        and canonical(first, answer_type, options) == value
    ):
        rationale = _without_opening(reasons.strip())
    return rationale, answer


def _first_turn(text: str) -> str:
    """Returns what was written before the model added a question of its own."""
    turn = _NEXT_TURN.split(text, maxsplit=1)[0]
    cue = _CUE.search(turn)
    answered = cue.end() if cue else len(turn)
    for premise in _PREMISE.finditer(turn):
        before = turn[max(0, premise.start() - 100) : premise.start()].rstrip(' \t*_#')
        # In front, or after a colon, a model repeats the question it was asked.
        new_turn = before.endswith('\n') and not before.rstrip().endswith(':')
        if new_turn or premise.start() > answered:
            turn = turn[: premise.start()].rstrip(' \t*_#')
            break
    return _without_opening(turn.strip())


def _without_opening(text: str) -> str:
    opening = _OPENING.match(text)
    return text[opening.end() :] if opening else text


def _concludes(turn: str, cue: re.Match[str]) -> bool:
    """Returns whether it is like `the answer is`; `the closest answer is` may be a reason."""
    before = turn[max(0, cue.start() - 2) : cue.start()]
    return not cue['would'] and not (cue['is'] and before.strip()[-1:].isalpha())


def _reasoning(turn: str, cues: Sequence[re.Match[str]]) -> str:
    """Returns the reasoning before the answer is stated, or that after it if it comes first."""
    before = turn[: cues[0].start()].strip(' ,;\n')
    if before:
        return before
    stop = cues[-1].start() if len(cues) > 1 else len(turn)
    return _without_opening(_statement(turn[cues[0].end() : stop])[1].strip(' ,;\n'))


def _statement(text: str) -> tuple[str, str]:
    r"""Splits off the first sentence, or what stands in the braces of `\boxed{}`."""
    text = text.strip()
    if text.startswith('{'):
        depth = 0
        for place, character in enumerate(text):
            depth += (character == '{') - (character == '}')
            if depth == 0:
                return text[1:place], text[place + 1 :]
    letter = _LETTER_POINT.match(text)  # no sentence ends in `D. math problem`
    end = _SENTENCE_END.search(text, letter.end() if letter else 0)
    return (text[: end.start()].strip(), text[end.end() :]) if end else (text, '')


def _without_cue(turn: str, answer_type: AnswerType, options: Sequence[str]) -> tuple[str, str]:
    """Returns rationale and answer of a text that never says `the answer is`."""
    if answer_type == 'equation':
        # `36 + 13 = 49`, then an explanation that states no answer of its own.
        calculation = _AFTERWARDS.split(turn, maxsplit=1)[0]
        return turn if _reasons(turn) else '', _conclusion(calculation)
    first, _, rest = turn.partition('\n')
    if answer_type == 'text':  # any words could be one: only a text of few words is
        return ('', turn) if _is_short(turn) and not rest else (turn, '')
    conclusion = _conclusion(turn) if _CONCLUSION.search(turn) else ''
    first = first if _is_short(first) and not _LETTERED_LINE.search(turn) else ''
    stated = {canonical(part, answer_type, options): part for part in (first, conclusion)}
    stated.pop(None, None)
    if len(stated) != 1:
        return turn, ''
    answer = stated.popitem()[1]
    return turn if rest or answer != first else '', answer


def _is_short(line: str) -> bool:
    return len(line) <= MAX_CHARACTERS and len(line.split()) <= _FEW_WORDS


def _conclusion(turn: str) -> str:
    """Returns the end of a calculation that never says `the answer is`: its last clause."""
    if len(turn) >= _CUT_OFF and turn[-1] not in '.!?':
        return ''
    sentences = [part.strip() for part in _SENTENCE_END.split(turn) if part.strip()]
    return _CONCLUSION.split(sentences[-1])[-1].strip(' ,') if sentences else ''


def _reasons(turn: str) -> bool:
    """Returns whether there is more than a bare number with its unit."""
    return len(turn.split()) > 2 or bool(_OPERATION.search(turn))
