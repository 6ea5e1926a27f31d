"""The tokenizer in the metadata of a GGUF file, as the fast tokenizer that it was made of.

llama.cpp keeps pieces, merges (or scores), kinds of pieces and special ids, and of how texts are
cut before they are merged only a name, `tokenizer.ggml.pre`. What such a name stands for is in
`_CUTS`; another name is refused, for texts would be read otherwise than the model learned them.
"""

import glob
import json
import pathlib
import tempfile
from typing import Any, NamedTuple, NoReturn

import numpy as np
import tokenizers
import transformers
from absl import logging

from qcrd_jax import sums
from qcrd_jax.data.tokenizer_files import readable, try_alone
from qcrd_jax.errors import InputError, shown
from qcrd_jax.models.checks import LARGEST_VOCABULARY
from qcrd_jax.models.foreign_files import name, shown_path
from qcrd_jax.models.gguf_files import read_file

_UNKNOWN, _CONTROL, _USER_DEFINED, _BYTE = 2, 3, 4, 6  # kinds of pieces; 1 is a normal one
_END_OF_TEXT = '<|endoftext|>'
_SPACE = '▁'  # what stands for a space in pieces of SentencePiece's kind
_LONGEST_TEMPLATE = 1 << 20  # characters
_IDS = {'bos_token': 'bos_token_id', 'eos_token': 'eos_token_id', 'unk_token': 'unknown_token_id'}
_PAD = 'padding_token_id'
_WORDS: dict[type, str] = {
    str: 'a string',
    int: 'a whole number',
    bool: 'true or false',
    list: 'an array of strings',
    np.ndarray: 'an array of numbers',
}
_WAY_OUT = 'Name a folder with the tokenizer of the model by --config.student.tokenizer=<folder>.'

# --- How texts are cut before pieces are merged ---------------------------------------------------

_ENDINGS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_SIGNS, _SPACES = r' ?[^\s\p{L}\p{N}]+[\r\n]*', r'\s*[\r\n]+|\s+(?!\S)|\s+'
_WORD = r'[^\r\n\p{L}\p{N}]?\p{L}+'
_UPPER, _LOWER = r'[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]', r'[\p{Ll}\p{Lm}\p{Lo}\p{M}]'
_CASED = r'[^\r\n\p{L}\p{N}]?'


class _Cut(NamedTuple):
    """How texts are cut.

    Attributes:
      pattern: of the pieces of a text; '': GPT-2's own.
      digits: whether each digit is first cut from what is around it.
      composed: whether characters are composed first (NFC).
      whole: whether a text that is a piece is that piece, whatever the merges make of it.
      bos: whether a text begins with BOS, where the file does not say.
    """

    pattern: str = ''
    digits: bool = False
    composed: bool = False
    whole: bool = False
    bos: bool = False


_GPT2, _DIGITS = _Cut(), _Cut(digits=True)
_LLAMA3 = _Cut(rf'{_ENDINGS}|{_WORD}|\p{{N}}{{1,3}}|{_SIGNS}|{_SPACES}', whole=True, bos=True)
_QWEN2 = _Cut(rf'{_ENDINGS}|{_WORD}|\p{{N}}|{_SIGNS}|{_SPACES}', composed=True)
_TEKKEN = _Cut(
    rf'{_CASED}{_UPPER}*{_LOWER}+|{_CASED}{_UPPER}+{_LOWER}*|\p{{N}}'
    rf'| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{_SPACES}',
    whole=True,
    bos=True,
)
_CUTS = {
    'gpt-2': _GPT2,
    'smollm': _DIGITS,
    'starcoder': _DIGITS,
    'refact': _DIGITS,
    'llama-bpe': _LLAMA3,
    'llama3': _LLAMA3,
    'llama-v3': _LLAMA3,
    'falcon3': _LLAMA3,
    'qwen2': _QWEN2,
    'deepseek-r1-qwen': _QWEN2._replace(composed=False),
    'tekken': _TEKKEN,
}


def read_gguf_tokenizer(path: pathlib.Path) -> transformers.PreTrainedTokenizerFast:
    """Returns the tokenizer of a GGUF file; its special tokens are those that the file names.

    Where the file pads with EOS or does not say what with, `<|endoftext|>` pads, if the file has it
    and it is not EOS: instructed models end at `<|im_end|>`, and no text of theirs holds the other.

    Raises:
      InputError: naming the file, and the field that is missing, damaged or not read.
    """
    file = read_file(path)
    sums.check(path.parent, (glob.escape(path.name),))
    fields = _Fields(path, file.metadata)
    pieces, kinds = fields.pieces()
    kind = fields.get('model', str, '')
    if kind == 'gpt2':
        state, bos = _byte_level(fields, pieces)
    elif kind == 'llama':
        state, bos = _sentencepiece(fields, pieces, kinds)
    else:
        fields.refuse('model', 'gpt2 or llama', f'{shown(kind)}; others are not read. {_WAY_OUT}')
    special = fields.special_tokens(pieces)
    state['added_tokens'] = _added(pieces, kinds)
    state['post_processor'] = fields.template(pieces, special, bos)
    with readable(f'{shown_path(path)}: no tokenizer could be made of it ({{reason}}). {_WAY_OUT}'):
        return transformers.PreTrainedTokenizerFast(
            tokenizer_object=_backend(path, state),
            clean_up_tokenization_spaces=False,
            chat_template=fields.chat_template(),
            **special,
        )


class _Fields:
    """The fields of the tokenizer, each checked for its type when it is read."""

    def __init__(self, path: pathlib.Path, metadata: dict[str, Any]):
        self._path, self._metadata = path, metadata

    def get(self, key: str, kind: type, default: Any) -> Any:
        """Returns a field; the default where the file has none."""
        value = self._metadata.get(f'tokenizer.ggml.{key}', default)
        if value is not default and type(value) is not kind:
            self.refuse(key, _WORDS[kind], f'{shown(value)}.')
        return value

    def refuse(self, key: str, expected: str, got: str) -> NoReturn:
        """Raises InputError, naming the file and the field."""
        raise InputError(
            f'{shown_path(self._path)}: tokenizer.ggml.{key}: expected {expected}, got {got}'
        )

    def pieces(self) -> tuple[list[str], np.ndarray]:
        """Returns the pieces by their ids, and of what kind each is; normal by default."""
        pieces = self.get('tokens', list, [])
        if not 0 < len(pieces) <= LARGEST_VOCABULARY or not all(type(p) is str for p in pieces):
            self.refuse('tokens', 'the pieces of a vocabulary', f'{len(pieces)} values. {_WAY_OUT}')
        if len(set(pieces)) < len(pieces):
            seen: set[str] = set()
            twice = next(piece for piece in pieces if piece in seen or seen.add(piece))
            self.refuse('tokens', 'an id of its own for every piece', f'{name(twice)} twice.')
        return pieces, self.numbers('token_type', len(pieces), 1)

    def numbers(self, key: str, length: int, default: int) -> np.ndarray:
        """Returns an array of a number for each piece."""
        values = self.get(key, np.ndarray, np.full(length, default))
        if len(values) != length:
            self.refuse(key, f'{length} values, as there are tokens', f'{len(values)}.')
        return values

    def merges(self) -> list[list[str]]:
        """Returns the two halves of every merge, the first to be made first."""
        merges = self.get('merges', list, None)
        if merges is None:
            self.refuse('merges', 'the merges of the vocabulary', f'no such field. {_WAY_OUT}')
        halves = [merge.split(' ') if type(merge) is str else [] for merge in merges]
        wrong = next((at for at, two in enumerate(halves) if len(two) != 2 or '' in two), None)
        if wrong is not None:
            self.refuse('merges', 'two pieces with a space between', f'{shown(merges[wrong])}.')
        return halves

    def cut(self) -> _Cut:
        """Returns how texts are cut, by the name of it."""
        pre = self.get('pre', str, 'default')
        if pre == 'default':
            logging.warning(
                "%s does not say how texts are cut before they are merged; it is done as GPT-2's "
                'tokenizer does. %s', shown_path(self._path), _WAY_OUT,
            )  # fmt: skip
            return _GPT2
        if pre not in _CUTS:
            self.refuse('pre', f'one of {", ".join(_CUTS)}', f'{shown(pre)}. {_WAY_OUT}')
        return _CUTS[pre]

    def special_tokens(self, pieces: list[str]) -> dict[str, str]:
        """Returns the special tokens by what transformers calls them."""
        ids = {token: self._id(key, pieces) for token, key in _IDS.items()}
        pad, eos = self._id(_PAD, pieces), ids['eos_token']
        if pad in (None, eos):
            ends = _END_OF_TEXT in pieces and eos is not None and pieces[eos] != _END_OF_TEXT
            pad = pieces.index(_END_OF_TEXT) if ends else None
        found = {**ids, 'pad_token': pad}
        return {token: pieces[id_] for token, id_ in found.items() if id_ is not None}

    def _id(self, key: str, pieces: list[str]) -> int | None:
        value = self.get(key, int, None)
        if value is not None and not 0 <= value < len(pieces):
            self.refuse(key, f'an id from 0 to {len(pieces) - 1}', f'{value}.')
        return value

    def template(
        self, pieces: list[str], special: dict[str, str], bos: bool
    ) -> dict[str, Any] | None:
        """Returns what stands before and after every text.

        Args:
          pieces: of the vocabulary.
          special: the special tokens.
          bos: whether BOS stands before it, where the file does not say.
        """
        before = self.get('add_bos_token', bool, bos) and special.get('bos_token')
        after = self.get('add_eos_token', bool, False) and special.get('eos_token')
        if not (before or after):
            return None

        def of(piece: str | bool | None) -> list[dict[str, Any]]:
            return [{'SpecialToken': {'id': piece, 'type_id': 0}}] if piece else []

        text = [*of(before), {'Sequence': {'id': 'A', 'type_id': 0}}, *of(after)]
        return {
            'type': 'TemplateProcessing',
            'single': text,
            'pair': [*text, {'Sequence': {'id': 'B', 'type_id': 1}}],
            'special_tokens': {
                piece: {'id': piece, 'ids': [pieces.index(piece)], 'tokens': [piece]}
                for piece in (before, after)
                if piece
            },
        }

    def chat_template(self) -> str | None:
        """Returns the template of a chat, which is kept for the folders that are written."""
        template = self._metadata.get('tokenizer.chat_template')
        if type(template) is not str or len(template) > _LONGEST_TEMPLATE:
            return None
        return template


# --- The two kinds of vocabularies, as tokenizer.json has them ------------------------------------


def _byte_level(fields: _Fields, pieces: list[str]) -> tuple[dict[str, Any], bool]:
    """Merges of bytes, in the manner of GPT-2; and whether a text begins with BOS."""
    cut = fields.cut()
    byte_level = {'type': 'ByteLevel', 'add_prefix_space': False, 'trim_offsets': True}
    steps: list[dict[str, Any]] = []
    if cut.digits:
        steps.append({'type': 'Digits', 'individual_digits': True})
    if cut.pattern:
        pattern = {'Regex': cut.pattern}
        steps.append({'type': 'Split', 'pattern': pattern, 'behavior': 'Isolated', 'invert': False})
    steps.append({**byte_level, 'use_regex': not cut.pattern})
    state = {
        'normalizer': {'type': 'NFC'} if cut.composed else None,
        'pre_tokenizer': {'type': 'Sequence', 'pretokenizers': steps},
        'decoder': {**byte_level, 'use_regex': True},
        'model': _merging(pieces, fields.merges(), ignore_merges=cut.whole),
    }
    return state, cut.bos


def _sentencepiece(
    fields: _Fields, pieces: list[str], kinds: np.ndarray
) -> tuple[dict[str, Any], bool]:
    """SentencePiece's merges, which scores stand for; and whether a text begins with BOS."""
    scores = fields.numbers('scores', len(pieces), 0)
    prefixed = fields.get('add_space_prefix', bool, True)
    unknown = np.flatnonzero(kinds == _UNKNOWN)
    strip = [{'type': 'Strip', 'content': ' ', 'start': 1, 'stop': 0}] if prefixed else []
    spaces = {'type': 'Replace', 'pattern': {'String': _SPACE}, 'content': ' '}
    state = {
        'normalizer': None,
        'pre_tokenizer': {
            'type': 'Metaspace',
            'replacement': _SPACE,
            'prepend_scheme': 'first' if prefixed else 'never',
            'split': False,
        },
        'decoder': {
            'type': 'Sequence',
            'decoders': [spaces, {'type': 'ByteFallback'}, {'type': 'Fuse'}, *strip],
        },
        'model': _merging(
            pieces,
            _merges_of_scores(pieces, kinds, scores),
            fuse_unk=True,
            byte_fallback=bool((kinds == _BYTE).any()),
            unk_token=pieces[unknown[0]] if len(unknown) else None,
        ),
    }
    return state, True


def _merges_of_scores(pieces: list[str], kinds: np.ndarray, scores: np.ndarray) -> list[list[str]]:
    """Returns the two halves of every piece that has some, those of the highest score first.

    Of one piece, or of one score, longer halves come first, as transformers orders them.
    """
    merged = ~np.isin(kinds, (_UNKNOWN, _CONTROL, _BYTE))
    ids = {piece: at for at, piece in enumerate(pieces) if merged[at]}
    found = []
    for piece, at in ids.items():
        halves = [(piece[:i], piece[i:]) for i in range(1, len(piece))]
        known = [(one, other) for one, other in halves if one in ids and other in ids]
        known.sort(key=lambda two: (ids[two[0]], ids[two[1]]))
        found += [(float(scores[at]), one, other) for one, other in known]
    found.sort(key=lambda merge: (merge[0], len(merge[1]), len(merge[2])), reverse=True)
    return [[one, other] for _, one, other in found]


def _merging(pieces: list[str], merges: list[list[str]], **fields: Any) -> dict[str, Any]:
    return {
        'type': 'BPE',
        'dropout': None,
        'unk_token': None,
        'continuing_subword_prefix': None,
        'end_of_word_suffix': None,
        'fuse_unk': False,
        'byte_fallback': False,
        'ignore_merges': False,
        **fields,
        'vocab': {piece: at for at, piece in enumerate(pieces)},
        'merges': merges,
    }


def _added(pieces: list[str], kinds: np.ndarray) -> list[dict[str, Any]]:
    """Returns the pieces that are found in a text before it is cut."""
    return [
        {
            'id': int(at),
            'content': pieces[at],
            'single_word': False,
            'lstrip': False,
            'rstrip': False,
            'normalized': False,
            'special': bool(kinds[at] == _CONTROL),
        }
        for at in np.flatnonzero(np.isin(kinds, (_CONTROL, _USER_DEFINED)))
        if pieces[at]
    ]


def _backend(path: pathlib.Path, state: dict[str, Any]) -> tokenizers.Tokenizer:
    """Makes a tokenizer of its state, which is first tried in a process of its own."""
    whole = {'version': '1.0', 'truncation': None, 'padding': None, **state}
    data = json.dumps(whole, ensure_ascii=False).encode()
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / 'tokenizer.json'
        file.write_bytes(data)
        try_alone('tokenizers', file, len(data), named=path)
    return tokenizers.Tokenizer.from_str(data.decode())
