"""Tokenizers: those that come with a checkpoint, and one trained on the data."""

import pathlib
import socket
import urllib.parse
import urllib.request
from collections.abc import Iterable
from typing import Any

import huggingface_hub
import tokenizers
import transformers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

from qcrd_jax.errors import InputError

Tokenizer = transformers.PreTrainedTokenizerBase

PAD, EOS, UNKNOWN = '<pad>', '</s>', '<unk>'  # ids 0, 1 and 2, as T5 has them

# What to pad with where a tokenizer pads with EOS, as Qwen2.5's does: tokens no text has.
_PADS = ('<|fim_pad|>', '<|vision_pad|>', '<|finetune_right_pad_id|>', '<|pad|>', PAD, '[PAD]')
_PADS += ('<|reserved_special_token_0|>', '<empty_output>')  # of Llama 3.0; of SmolLM2
_MIN_FREQUENCY = 2  # of a merge
_ALWAYS = '0 1 2 3 4 5 6 7 8 9 ( ) + - * / = . , 0123456789'  # what labels are made of


def special_ids(tokenizer: Tokenizer) -> tuple[int, int]:
    """Returns the ids of padding and of EOS, which every tokenizer of ours has."""
    ids: Any = (tokenizer.pad_token_id, tokenizer.eos_token_id)
    return ids


def load_tokenizer(name_or_path: str) -> Tokenizer:
    """Reads a tokenizer from a folder (`tokenizer.json` or only `spiece.model`) or the Hub.

    Raises:
      InputError: if there is none, or the Hub cannot be reached.
    """
    folder = pathlib.Path(name_or_path)
    if folder.is_dir() and not (folder / 'tokenizer.json').is_file():
        if not (folder / 'spiece.model').is_file():
            raise InputError(
                f'{folder}: has neither tokenizer.json nor spiece.model; name a folder with a '
                'tokenizer by --config.student.tokenizer, or leave that and '
                "--config.student.pretrained '' to train one on the data."
            )
        return _check(_read_sentencepiece(folder), name_or_path)
    try:
        # A folder is read as it is; a Hub id comes from the local cache or the network.
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            name_or_path, local_files_only=folder.is_dir() or not _hub_answers()
        )
        return _check(tokenizer, name_or_path)
    except InputError:
        raise
    except Exception as error:  # transformers lets the errors of many libraries through
        raise InputError(
            f'{name_or_path}: no tokenizer could be read from this '
            f'{"folder" if folder.is_dir() else "Hub id"} ({_first_line(error)}). Give a folder by '
            "--config.student.tokenizer=<folder>, or use --config.student.pretrained='' and "
            "--config.student.tokenizer='' to train one on the data, which needs no network."
        ) from error


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
    if tokenizer.eos_token_id is None:
        raise InputError(f'{name}: the tokenizer has no eos token; a sequence must end in one.')
    if tokenizer.pad_token_id in (None, tokenizer.eos_token_id):
        # What is padded is not learned, and EOS must be.
        pad = next((token for token in _PADS if token in tokenizer.get_vocab()), None)
        if pad is None:
            raise InputError(
                f'{name}: the tokenizer has no pad token, or EOS is its pad token, and none of '
                f'{", ".join(_PADS)} is there to pad with; name one as pad_token in '
                'tokenizer_config.json.'
            )
        tokenizer.add_special_tokens({'pad_token': pad})
    return tokenizer


def _read_sentencepiece(folder: pathlib.Path) -> Tokenizer:
    """Reads a folder that holds only `spiece.model`, as the oldest T5 checkpoints do."""
    try:
        tokenizer = transformers.T5Tokenizer.from_pretrained(str(folder))
    except Exception as error:  # the file is binary and may be damaged in any way
        raise InputError(
            f'{folder}/spiece.model: cannot be read ({_first_line(error)}).'
        ) from error
    return tokenizer


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


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
