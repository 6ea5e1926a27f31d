r"""How a text ends: courtesies, and a last line that is an answer and nothing else.

Long texts and chat models often say nothing like `the answer is`; they end in `#### 90`, `A: 90`,
`**90**`, `ans = 90`, `\[15 \times 6 = 90\]` or a letter.
"""

import re
from typing import NamedTuple

_MOST = 200  # characters of a last line that may be an answer
_FEW_WORDS = 8  # of an answer behind `A:`
_COURTESIES = 6  # sentences that are dropped from the end, at most
_COURTESY = re.compile(
    r"""
    \W*(?:
      (?:great|good|well\ done|perfect|excellent|awesome|nice|wonderful|amazing|bravo
        |congratulations|hooray|yay|voil[aà]|done|simple|cheers|enjoy|q\.?e\.?d|thanks|thank\ you
        |that(?:'s|\ is)\ (?:it|all)|problem\ solved|keep\ (?:it\ )?up)
      (?:\ (?:job|work|luck|question|thinking|effort|going|day|it|so\ much|for\ asking)){0,2}\W*$
    | (?:(?:i\ )?hope\ (?:this|that|it|you)|let\ me\ know|feel\ free|please\ (?:let|feel)
        |you(?:'re|\ are)\ welcome|(?:i'm\ )?(?:happy|glad)\ (?:to|i\ could)|is\ there\ anything
        |do\ you\ (?:have|need|want)|would\ you\ like|if\ you\ (?:have|need|want|would|'d)
        |any\ (?:other\ )?questions|have\ a\ (?:nice|great|good|wonderful)|good\ luck|enjoy
        |keep\ \w+ing|happy\ \w+ing
        |this\ is\ (?:the|our|your)\ (?:final\ |correct\ )?answer)\b[^0-9=]*$
    )""",
    re.IGNORECASE | re.VERBOSE,
)
_SENTENCE = re.compile(r'(?<=[.!?…])\s+|\n+')
_MARKED = re.compile(r'#{3,6}[ \t]*(?![0-9]{1,3}[.)]\s)(?P<answer>[^\n#]+?)[ \t#]*$')
_NAMED = re.compile(
    r'[*_>\s]{0,8}(?:A|Ans|(?:The )?(?:final |correct )?(?:answer|result|total|choice|label)'
    r'|Relationship|Conclusion|Verdict|Judge?ment|Classification|(?:Best|Final) (?:choice|option))'
    r'[*_]{0,3}\s{0,4}(?:[:=]|\s-\s)[*_]{0,3}\s{0,4}(?P<answer>.*)$',
    re.IGNORECASE,
)
_DRESSES = (
    re.compile(r'\*\*(?P<answer>[^*]+)\*\*[.!]?$'),
    re.compile(r'__(?P<answer>[^_]+)__[.!]?$'),
    re.compile(r'`(?P<answer>[^`]+)`[.!]?$'),
    re.compile(r'\$\$?(?P<answer>[^$]+)\$\$?[.!]?$'),
    re.compile(r'\\\[(?P<answer>.+?)\\\][.!]?$'),
    re.compile(r'\\\((?P<answer>.+?)\\\)[.!]?$'),
    re.compile(r'(?:=>?|⇒|→|➔|∴)\s{0,4}(?P<answer>.+)$'),
)
_BLOCK = re.compile(  # a formula that ends a text, on lines of its own
    r'(?:\$\$|\\\[)[ \t]{0,4}\n[ \t]{0,8}(?P<inner>\S[^\n]{0,180})\n[ \t]{0,8}(?:\$\$|\\\])$'
)
_BARE_NUMBER = re.compile(r'[-+−]?[$£€₹]?[0-9][0-9,]{0,20}(?:\.[0-9]{1,10})?\s?%?[.!]?$')


class Closing(NamedTuple):
    """A last line that is dressed as an answer.

    Attributes:
      before: what stands before it; with it, where it is a step of a calculation as well.
      answer: the line without its dress.
      marked: whether it begins with `####`, which nothing but an answer does.
      bare: whether it has no dress and is no plain number: it may be any line.
    """

    before: str
    answer: str
    marked: bool = False
    bare: bool = False


def without_courtesies(text: str) -> str:
    """Returns the text without the courtesies behind it.

    Examples:
      >>> without_courtesies('6 * 7 = 42 apples. Great! I hope this helps.')
      '6 * 7 = 42 apples.'
    """
    text = text.rstrip()
    tail = text[-2 * _MOST :]
    cut = len(text) - len(tail)
    for _ in range(_COURTESIES):
        breaks = list(_SENTENCE.finditer(tail))
        if not breaks:
            break
        last = tail[breaks[-1].end() :]
        wordless = not any(c.isalnum() or c in '*_$\\)]}`"' for c in last)  # an emoji
        if not (wordless or _COURTESY.match(last)):
            break
        tail = tail[: breaks[-1].start()].rstrip()
    return text[:cut] + tail


def closing(text: str) -> Closing | None:
    """Returns the last line of a text, if it may be an answer and nothing else."""
    text = without_courtesies(text)
    if block := _BLOCK.search(text, max(0, len(text) - 2 * _MOST)):
        text = f'{text[: block.start()]}\\[{block["inner"].strip()}\\]'
    before, line_break, line = text.rpartition('\n')
    before, line = before.rstrip(), line.strip()
    if not line or len(line) > _MOST:
        return None
    if marked := _MARKED.match(line):
        return Closing(before, marked['answer'], marked=True)
    named = _NAMED.match(line)
    inner = _undressed(named['answer'] if named else line)
    if named and inner:
        if len(inner.split()) > _FEW_WORDS and '=' not in inner:
            return None
        return Closing(text if '=' in inner else before, inner)
    if inner != line:
        return Closing(text if '=' in line else before, inner)
    if not line_break:
        return None
    return Closing(before, line, bare=not _BARE_NUMBER.match(line))


def _undressed(line: str) -> str:
    for dress in _DRESSES:
        if match := dress.match(line):
            return match['answer'].strip()
    return line
