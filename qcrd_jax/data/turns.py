"""What a teacher wrote in its own turn, before a model goes on to ask and answer by itself.

A few-shot prompted model adds questions of its own: nothing from there on is an answer. A chat
model tells the question again before it reasons: nothing is cut there.
"""

import re

# In front of a question. Whether it is the next one depends on what stands before it.
_ASKED = re.compile(
    r"""
      \n[ \t*_\#>]{0,8}(?:Q|Question|Input|Problem)[ \t]{0,2}(?P<number>[0-9]{0,4})[ \t*_]{0,4}[:.]
    | \n\#{2,6}[ \t]{0,4}[*_]{0,3}(?:Instruction|Question|Input|Problem|Example|Task)
      [ \t]{0,2}\#?(?P<numbered>[0-9]{0,4})[ \t*_]{0,4}(?=[:.\n]|$)  # not `### Problem Breakdown`
    | (?P<inline>\bQ:)
    | (?P<other>\n[ \t*_\#]{0,8}(?:Human|User)[ \t]{0,2}[0-9]{0,4}[ \t*_]{0,4}[:.])
    | (?P<empty>\n\#{2,6}[ \t]{0,4}\n)
    """,
    re.IGNORECASE | re.VERBOSE,
)
_PREMISE = re.compile(r'\bpremise[*_]{0,3}:', re.IGNORECASE)
# `Sure!`, `Let us compare.`: announces what comes, and says nothing of the answer.
_ANNOUNCEMENT = re.compile(
    r'\W*(?:sure|okay|ok|certainly|of course|absolutely|alright|great|let|here|first|now|step|'
    r'to (?:solve|answer|find|determine|decide|figure|work|see|start|begin)|problem|question|task|'
    r"we (?:need|have|are|will|can|must|want|should|start|begin)|we'll|i'll|i will|i need|i have|"
    r"i am|i'm|the (?:question|problem|task)|given|understand\w*|restat\w*|read\w*|break\w*|"
    r'consider\w*|understood|thinking|solution)\b',
    re.IGNORECASE,
)
_LONGEST_ANNOUNCEMENT = 200  # characters
_CONCLUDES = re.compile(
    r'[0-9]\s{0,4}[-+*/=]|=|\b(?:answer|therefore|thus|hence|so)\b(?!\s{0,2}(?:the|this)\s'
    r'(?:question|problem))',
    re.IGNORECASE,
)
_OPENING = re.compile(
    r'\s*[*_#]{0,6}\s?(?:A[*_]{0,3}\s?:|(?:Rationale|Explanation|Reasonings?)[*_]{0,3}\s?[:\n])'
    r'[*_]{0,3}\s*',
    re.IGNORECASE,
)
_EMPHASIS = ' \t*_#'


def own_turn(text: str, stated: re.Pattern[str]) -> str:
    r"""Returns what was written before the model added a question of its own.

    Args:
      text: what was written after the question.
      stated: matches where an answer is stated.

    Examples:
      >>> own_turn('It is 5.\n\nQ: Tom has 7.', re.compile('is'))
      'It is 5.'
      >>> own_turn('Sure!\n\nQuestion: Tom has 7.\n\n7 - 2 = 5', re.compile('is'))
      'Sure!\n\nQuestion: Tom has 7.\n\n7 - 2 = 5'
    """
    turn = _before_next_question(text)
    statement = stated.search(turn)
    answered = statement.end() if statement else len(turn)
    told = False
    for premise in _PREMISE.finditer(turn):
        before = turn[max(0, premise.start() - 100) : premise.start()].rstrip(_EMPHASIS)
        # In front, or after a colon, a model repeats the question it was asked.
        new_turn = before.endswith('\n') and not before.rstrip().endswith(':')
        if new_turn and not told and _announces(turn[: premise.start()]):
            told = True
        elif new_turn or premise.start() > answered:
            turn = turn[: premise.start()].rstrip(_EMPHASIS)
            break
    return without_opening(turn.strip())


def without_opening(text: str) -> str:
    """Returns a text without the `A:` or `Rationale:` that it opens with."""
    opening = _OPENING.match(text)
    return text[opening.end() :] if opening else text


def _before_next_question(text: str) -> str:
    told = False
    for asked in _ASKED.finditer(text):
        number = asked['number'] or asked['numbered']
        again = not (told or asked['other'] or asked['empty']) and number in (None, '', '1')
        if not (again and _announces(text[: asked.start()])):
            return text[: asked.start()]
        told = True
    return text


def _announces(before: str) -> bool:
    """Returns whether the text before a question does no more than lead to it."""
    if not before:
        return True
    lead = before.strip(f'\n{_EMPHASIS}-')
    return (
        0 < len(lead) <= _LONGEST_ANNOUNCEMENT
        and not _CONCLUDES.search(lead)
        and bool(lead.endswith(':') or _ANNOUNCEMENT.match(lead))
    )
