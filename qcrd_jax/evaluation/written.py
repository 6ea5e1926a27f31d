"""A text that a student wrote, with what only its ids say."""

from typing import NamedTuple


class Written(NamedTuple):
    """What a student wrote.

    Attributes:
      text: without special tokens.
      tokens: its length, without EOS.
      ended: whether the student ended it by EOS; otherwise it was cut off at the maximal length.
    """

    text: str
    tokens: int
    ended: bool
