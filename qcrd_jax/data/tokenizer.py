"""Tokenizers: those that come with a checkpoint, and one trained on the data."""

import json
import pathlib
import socket
import urllib.parse
import urllib.request
from collections.abc import Iterable
from typing import Any

import huggingface_hub
import sentencepiece
import tokenizers
import transformers
from absl import logging
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

from qcrd_jax import sums
from qcrd_jax.data.gguf_tokenizer import read_gguf_tokenizer
from qcrd_jax.data.special_tokens import STRANGER, Tokenizer, special_ids, special_tokens
from qcrd_jax.data.tokenizer_files import FILES, check_files, check_sizes, config_of, readable
from qcrd_jax.errors import InputError, shown
from qcrd_jax.models.gguf_files import is_gguf

PAD, EOS, UNKNOWN = '<pad>', '</s>', '<unk>'  # ids 0, 1 and 2, as T5 has them

# What to pad with where a tokenizer pads with EOS, as Qwen2.5's does: tokens no text has.
_PADS = ('<|fim_pad|>', '<|vision_pad|>', '<|finetune_right_pad_id|>', '<|pad|>', PAD, '[PAD]')
_PADS += ('<|reserved_special_token_0|>', '<empty_output>')  # of Llama 3.0; of SmolLM2
_PROBES = (  # texts that a SentencePiece model and what reads it must cut alike
    f'a{STRANGER}b', ' two  spaces ', 'one\nline', 'a\tb', 'ＡＢＣ', '1/2 of 12.50 is $6.', '',
)  # fmt: skip
_MOST_PIECES = 40_000  # of a model that probes are made of
_PIECES_OF_PROBE = 8
_WAY_OUT = (
    'Give a folder (or a .gguf file) by --config.student.tokenizer=<folder>, or use '
    "--config.student.pretrained='' and --config.student.tokenizer='' to train one on the data, "
    'which needs no network.'
)
_GAPS = 1024  # ids that no token has, beside as many as there are tokens
_MIN_FREQUENCY = 2  # of a merge
_ALWAYS = '0 1 2 3 4 5 6 7 8 9 ( ) + - * / = . , 0123456789'  # what labels are made of


def load_tokenizer(name_or_path: str) -> Tokenizer:
    """Reads a tokenizer from a folder (`tokenizer.json` or only `spiece.model`) or the Hub.

    That of a GGUF file is read from its metadata.

    Code that comes with it is never run, whatever its files name.

    Raises:
      InputError: if there is none, if a file of it is not what it should be, nor what its digests
        say (`sums`), or if the Hub cannot be reached.
    """
    if is_gguf(name_or_path):
        path = pathlib.Path(name_or_path).expanduser()
        if not path.is_file():
            raise InputError(f'{name_or_path!r}: no such file. {_WAY_OUT}')
        return _check(read_gguf_tokenizer(path), name_or_path)
    folder = _folder_of(name_or_path)
    check_sizes(folder)
    sums.check(folder, FILES)
    code = check_files(folder)
    if not (folder / 'tokenizer.json').is_file():
        if not (folder / 'spiece.model').is_file():
            raise InputError(
                f'{folder}: has neither tokenizer.json nor spiece.model; name a folder with a '
                'tokenizer by --config.student.tokenizer, or leave that and '
                "--config.student.pretrained '' to train one on the data."
            )
        return _check(_read_sentencepiece(folder), name_or_path)
    failed = f'{name_or_path}: no tokenizer could be read from this folder ({{reason}}). {_WAY_OUT}'
    if code:
        failed = (
            f'{name_or_path}: tokenizer_config.json names code of its own, {shown(code[0])}, which '
            f'is never run, and no tokenizer could be read without it. {_WAY_OUT}'
        )
    with readable(failed):
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            folder, config=config_of(folder), trust_remote_code=False, local_files_only=True
        )
        tokenizer = _check(tokenizer, name_or_path)
    if code:
        logging.warning('%s names code of its own, %s; it is not run', folder, shown(code[0]))
    return tokenizer


def _folder_of(name_or_path: str) -> pathlib.Path:
    """Returns the folder, after downloading what a tokenizer is read from for a Hub id."""
    folder = pathlib.Path(name_or_path).expanduser()
    if name_or_path and folder.is_dir():
        return folder
    failed = f'{name_or_path}: no tokenizer could be read from this Hub id ({{reason}}). {_WAY_OUT}'
    with readable(failed):
        return pathlib.Path(
            huggingface_hub.snapshot_download(
                name_or_path, allow_patterns=list(FILES), local_files_only=not _hub_answers()
            )
        )


def _hub_answers() -> bool:
    """Returns whether the Hub's name resolves: asking it in vain would take most of a minute."""
    if urllib.request.getproxies():
        return True  # the proxy resolves names
    try:
        socket.getaddrinfo(urllib.parse.urlsplit(huggingface_hub.constants.ENDPOINT).hostname, 443)
    except OSError:
        return False
    return True


def _check(tokenizer: Tokenizer, name: str) -> Tokenizer:
    if not tokenizer.is_fast:
        raise InputError(f'{name}: expected a fast tokenizer (tokenizer.json), got a slow one.')
    highest = max(tokenizer.get_vocab().values())
    if highest >= 2 * len(tokenizer) + _GAPS:
        raise InputError(
            f'{name}: the tokenizer has {len(tokenizer)} tokens and ids up to {highest}; expected '
            'ids without such gaps, for every one of them is a row of the embedding.'
        )
    if tokenizer.eos_token_id is None:
        raise InputError(f'{name}: the tokenizer has no eos token; a sequence must end in one.')
    if tokenizer.pad_token_id in (None, tokenizer.eos_token_id):
        # What is padded is not learned, and EOS must be.
        pad = next((token for token in _PADS if token in tokenizer.get_vocab()), None)
        if pad is None:
            raise InputError(
                f'{name}: the tokenizer has no pad token, or EOS is its pad token, and none of '
                f'{", ".join(_PADS)} is there to pad with; name one as pad_token in '
                'tokenizer_config.json, or give another tokenizer with '
                '--config.student.tokenizer=<folder>.'
            )
        tokenizer.add_special_tokens({'pad_token': pad})
    found: Any = tokenizer(STRANGER, add_special_tokens=False)['input_ids']
    taken = [number for number in special_ids(tokenizer) if number in found]
    if taken and tokenizer.unk_token_id not in taken:
        raise InputError(
            f'{name}: what the tokenizer has no piece for becomes token {taken[0]}, which is '
            'EOS or padding; expected its unknown token '
            f'({tokenizer.unk_token!r}, {tokenizer.unk_token_id}). T5Tokenizer takes id 2 for the '
            'unknown token: if tokenizer.json has another, name PreTrainedTokenizerFast as '
            'tokenizer_class in tokenizer_config.json.'
        )
    return tokenizer


def _read_sentencepiece(folder: pathlib.Path) -> Tokenizer:
    """Reads a folder that holds only `spiece.model`, as the oldest T5 checkpoints do.

    transformers takes T5's special ids for granted. A model with others is read with its own.

    Raises:
      InputError: if it has no EOS, or cannot be read as SentencePiece reads it.
    """
    path = folder / 'spiece.model'
    with readable(f'{path}: cannot be read ({{reason}}).'):
        model = sentencepiece.SentencePieceProcessor(model_file=str(path))
        ids = {'pad': model.pad_id(), 'eos': model.eos_id(), 'unk': model.unk_id()}
        names = {f'{name}_token': model.id_to_piece(i) for name, i in ids.items() if i >= 0}
        as_t5 = [*ids.values()] == [0, 1, 2] and [*names.values()] == [PAD, EOS, UNKNOWN]
        more = {} if as_t5 else {**names, 'extra_ids': 0}
        tokenizer: Any = transformers.T5Tokenizer.from_pretrained(
            str(folder), trust_remote_code=False, local_files_only=True, **more
        )
    has_bytes = any(model.is_byte(piece) for piece in range(len(model)))
    if ids['eos'] < 0:
        found = ', '.join(f'{name} {number}' for name, number in ids.items())
        raise InputError(
            f'{path}: the model has no EOS, and a sequence must end in one: its special ids are '
            f'{found}; expected pad 0, eos 1, unk 2, as T5 has them, or others of its own. Train '
            'it with an eos_id, or name a folder with a tokenizer.json.'
        )
    with readable(f'{path}: cannot be read ({{reason}}).'):
        if not as_t5 or has_bytes:
            tokenizer = _with_ids_of(model, tokenizer, has_bytes)
        _compare(model, tokenizer, path)
    return tokenizer


def _with_ids_of(
    model: sentencepiece.SentencePieceProcessor, tokenizer: Tokenizer, has_bytes: bool
) -> transformers.PreTrainedTokenizerFast:
    """Returns the tokenizer with the special ids of the model, which it keeps when it is saved."""
    backend: Any = tokenizer.backend_tokenizer
    state = json.loads(backend.to_str())
    state['model'] |= {'unk_id': model.unk_id(), 'byte_fallback': has_bytes}
    backend = tokenizers.Tokenizer.from_str(json.dumps(state))
    eos: Any = tokenizer.eos_token
    backend.post_processor = processors.TemplateProcessing(
        single=f'$A {eos}', special_tokens=[(eos, model.eos_id())]
    )
    if has_bytes:
        backend.decoder = decoders.Sequence(
            [
                decoders.ByteFallback(),
                decoders.Metaspace(replacement='▁', prepend_scheme='always'),
            ]
        )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token=tokenizer.pad_token,
        eos_token=eos,
        unk_token=tokenizer.unk_token,
        clean_up_tokenization_spaces=False,
    )


def _compare(
    model: sentencepiece.SentencePieceProcessor, tokenizer: Tokenizer, path: pathlib.Path
) -> None:
    """Refuses a tokenizer that does not cut texts of the model's own pieces as the model does."""

    def is_text(piece: int) -> bool:
        return not (model.is_control(piece) or model.is_unknown(piece) or model.is_byte(piece))

    plain = [
        model.id_to_piece(piece).replace('▁', ' ')
        for piece in range(0, len(model), 1 + len(model) // _MOST_PIECES)
        if is_text(piece)
    ]
    starts = range(0, len(plain), _PIECES_OF_PROBE)
    probes = [
        between.join(plain[start : start + _PIECES_OF_PROBE])
        for start in starts
        for between in ('', ' ')
    ]
    # SentencePiece reads no special token in a text. Those that T5 adds are such texts.
    special = [token for token in special_tokens(tokenizer) if not is_text(model[token])]
    probes = [text for text in probes if not any(token in text for token in special)]
    probes += _PROBES
    read: Any = tokenizer(probes, add_special_tokens=False)['input_ids']
    for text, ours, wanted in zip(probes, read, model.encode(probes), strict=True):
        if ours != wanted:
            raise InputError(
                f'{path}: is not a model of the kind that T5 has (Unigram, its rules for spaces): '
                f'of {text[:40]!r} it makes {model.id_to_piece(wanted)[:12]}, and would be read as '
                f'{tokenizer.convert_ids_to_tokens(ours)[:12]}. Name a folder with a '
                'tokenizer.json, which save_pretrained of its own tokenizer writes.'
            )


def train_tokenizer(
    texts: Iterable[str],
    vocab_size: int = 8000,
    *,
    required: Iterable[str] = (),
    split_digits: bool = True,
) -> transformers.PreTrainedTokenizerFast:
    """Trains a tokenizer on the data: T5's special ids and `▁` for a space.

    Punctuation is never part of a longer piece, and no number is unknown. The pieces are byte-pair
    merges: unlike `tokenizers`' Unigram trainer this one gives the same pieces in every process,
    and it keeps frequent words whole. The same texts, in whatever order, give the same tokenizer.

    Args:
      texts: what the student is going to read and write: questions, labels and rationales.
      vocab_size: number of pieces at most; fewer where the texts hold fewer.
      required: texts whose characters must be known beside those of `texts`: the prefixes.
      split_digits: a digit is never part of a longer piece either, and numbers are copied digit by
        digit. False: frequent numbers are pieces, as in T5's own vocabulary; a tiny student learns
        to copy them much sooner.

    Returns:
      A tokenizer that appends `</s>`, saves with `save_pretrained` and loads by `AutoTokenizer`.

    Raises:
      InputError: if there is no text, or `vocab_size` is too small to hold its characters.
    """
    corpus = sorted(set(texts))
    if not corpus:
        raise InputError('There is no text to train a tokenizer on: the training split is empty.')
    corpus += list(required) * _MIN_FREQUENCY + [_ALWAYS] * _MIN_FREQUENCY
    backend = tokenizers.Tokenizer(models.BPE(unk_token=UNKNOWN))
    backend.normalizer = normalizers.Sequence(
        [
            normalizers.NFKC(),
            normalizers.Replace(tokenizers.Regex(r'\s+'), ' '),
            normalizers.Strip(),
        ]
    )
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Metaspace(replacement='▁', prepend_scheme='always'),
            # Digits (or numbers) and punctuation are pieces of their own, with the space before.
            pre_tokenizers.Split(
                tokenizers.Regex(rf'▁?[0-9]{"" if split_digits else "+"}|▁?[^\w\s▁]'), 'isolated'
            ),
        ]
    )
    backend.decoder = decoders.Metaspace(replacement='▁', prepend_scheme='always')
    backend.train_from_iterator(
        corpus,
        trainers.BpeTrainer(
            vocab_size=vocab_size,
            min_frequency=_MIN_FREQUENCY,
            special_tokens=[PAD, EOS, UNKNOWN],
            show_progress=False,
        ),
    )
    if backend.get_vocab_size() > vocab_size:
        raise InputError(
            f'student.vocab_size: {vocab_size} pieces cannot hold the {backend.get_vocab_size()} '
            'characters of the data; raise it.'
        )
    backend.post_processor = processors.TemplateProcessing(
        single=f'$A {EOS}', special_tokens=[(EOS, backend.token_to_id(EOS))]
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token=PAD,
        eos_token=EOS,
        unk_token=UNKNOWN,
        clean_up_tokenization_spaces=False,
    )
