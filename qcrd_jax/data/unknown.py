"""What a tokenizer has no pieces for: how many tokens of a split are unknown, and which characters.

The tokens are counted in the split as it was tokenised; only the texts that have unknown ones are
tokenised again, to see where in them those are.
"""

import collections
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from absl import logging

from qcrd_jax.data.encoded import Encoded, Groups, Ragged
from qcrd_jax.data.schema import Example
from qcrd_jax.data.special_tokens import Tokenizer, unknown_id

TEXTS = ('question', 'label', 'rationale')
WARNED = 0.001  # share of unknown tokens above which it is warned

_AT_ONCE = 1_000_000  # token ids that are compared at once
_TEXTS_AT_ONCE = 256  # that are tokenised at once
_COMMONEST = 10  # characters that are reported
_SHOWN = 3  # of these in a warning


class Share(NamedTuple):
    """How many tokens a kind of texts has, EOS aside, and how many of them are unknown."""

    tokens: int = 0
    unknown: int = 0


class UnknownTokens:
    """Counts the unknown tokens of a split.

    Args:
      encoded: the split.
      tokenizer: that it was tokenised by.
    """

    def __init__(self, encoded: Encoded, tokenizer: Tokenizer):
        self._tokenizer = tokenizer
        self._id = unknown_id(tokenizer)
        fields = {
            'question': [encoded.question],
            'label': [encoded.label],
            'rationale': [encoded.positives, encoded.negatives],
        }
        self._places = {kind: np.zeros(len(encoded), bool) for kind in TEXTS}
        self.shares = {kind: self._count(kind, fields[kind]) for kind in TEXTS}
        self._characters: collections.Counter[str] = collections.Counter()
        self._waiting: list[str] = []

    def _count(self, kind: str, fields: Iterable[Ragged | Groups]) -> Share:
        tokens = unknown = 0
        for field in fields:
            sequences = field.items if isinstance(field, Groups) else field
            tokens += len(sequences.items) - int(np.count_nonzero(sequences.sizes))
            places = _equal(sequences.items, self._id)
            unknown += len(places)
            owners = np.unique(np.searchsorted(np.cumsum(sequences.sizes), places, 'right'))
            if isinstance(field, Groups):
                owners = np.searchsorted(np.cumsum(field.sizes), owners, 'right')
            self._places[kind][owners] = True
        return Share(tokens, unknown)

    def add(self, place: int, example: Example, samples: int) -> None:
        """Looks for characters in the texts of a question that have unknown tokens.

        Args:
          place: of the question in the split.
          example: the question.
          samples: K, of its samples the first K are tokenised.
        """
        if self._places['question'][place]:
            self._waiting.append(example.input)
        if self._places['label'][place]:
            self._waiting.append(example.label)
        if self._places['rationale'][place]:
            self._waiting += [sample.rationale for sample in example.samples[:samples]]
        if len(self._waiting) >= _TEXTS_AT_ONCE:
            self._look()

    def _look(self) -> None:
        texts, self._waiting = [text for text in self._waiting if text], []
        if not texts:
            return
        found = self._tokenizer(texts, return_offsets_mapping=True, return_attention_mask=False)
        for text, ids, offsets in zip(
            texts, found['input_ids'], found['offset_mapping'], strict=True
        ):
            for token, (start, end) in zip(ids, offsets, strict=True):
                if token == self._id:
                    piece = ''.join(text[start:end].split())
                    written = piece == self._tokenizer.unk_token  # `<unk>` itself
                    self._characters.update([piece] if written else piece)

    def report(self) -> dict[str, Any]:
        """Returns what `prepare.json` says."""
        self._look()
        kinds = {
            kind: {'tokens': share.tokens, 'unknown': share.unknown, 'share': _ratio(share)}
            for kind, share in self.shares.items()
        }
        characters = [
            {'character': text, 'name': name_of(text), 'count': count}
            for text, count in self.commonest()
        ]
        return {**kinds, 'characters': characters}

    def different(self) -> int:
        """Returns how many different characters are unknown."""
        self._look()
        return len(self._characters)

    def commonest(self) -> list[tuple[str, int]]:
        """Returns the characters that are most often unknown, and how often; equals in order."""
        self._look()
        ordered = sorted(self._characters.items(), key=lambda item: (-item[1], item[0]))
        return ordered[:_COMMONEST]


def name_of(text: str) -> str:
    """Returns the code points of a text and the name of a single character.

    Examples:
      >>> name_of('é'), name_of('<unk>')
      ('U+00E9 LATIN SMALL LETTER E WITH ACUTE', 'the text <unk>')
    """
    if len(text) > 1:
        return f'the text {text}'
    name = unicodedata.name(text, '')
    return f'U+{ord(text):04X} {name}'.strip()


def as_text(splits: Mapping[str, UnknownTokens]) -> str:
    """Returns the characters that are unknown, split by split; '' if there are none."""
    lines = []
    for split, unknown in splits.items():
        commonest = unknown.commonest()
        more = unknown.different() - len(commonest)
        for text, count in commonest:
            lines.append(f'  {split}: {_quoted(text)} {name_of(text)}: {_times(count)}')
        if more > 0:
            lines.append(f'  {split}: and {more} more')
    return '\n'.join(['the tokenizer has no piece for', *lines]) if lines else ''


def warn(splits: Mapping[str, UnknownTokens]) -> None:
    """Warns of every split of which too many tokens are unknown, and says what to do."""
    for split, unknown in splits.items():
        many = [
            f'{share.unknown / share.tokens:.2%} of the tokens of its {kind}s'
            for kind, share in unknown.shares.items()
            if share.tokens and share.unknown > WARNED * share.tokens
        ]
        if many:
            often = ', '.join(_quoted(text) for text, _ in unknown.commonest()[:_SHOWN])
            logging.warning(
                '%s: the tokenizer has no piece for %s, most often for %s: the student cannot tell '
                'these apart. Train a tokenizer on the data (--config.student.tokenizer= and '
                '--config.student.pretrained=), name a student whose tokenizer falls back to bytes '
                '(Qwen, Llama), or replace these characters in the data.',
                split, ' and '.join(many), often,
            )  # fmt: skip


def _equal(ids: np.ndarray, wanted: int | None) -> np.ndarray:
    """Returns where the id stands; the ids may be a file that memory could not hold."""
    if wanted is None:
        return np.zeros(0, np.int64)
    starts = range(0, len(ids), _AT_ONCE)
    found = [start + np.flatnonzero(ids[start : start + _AT_ONCE] == wanted) for start in starts]
    return np.concatenate([np.zeros(0, np.int64), *found])


def _ratio(share: Share) -> float | None:
    return share.unknown / share.tokens if share.tokens else None


def _quoted(text: str) -> str:
    return f"'{text}'" if text.isprintable() else repr(text)


def _times(count: int) -> str:
    return 'once' if count == 1 else f'{count} times'
