"""The files that a tokenizer is read from, looked at before a library opens them.

Sizes, ids and fields that would make a library allocate, loop or open other files without end are
refused by name. What is left is tried in a process of its own (`tokenizer_trial`).
"""

import contextlib
import os
import pathlib
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, NoReturn

import transformers

from qcrd_jax.data import tokenizer_trial
from qcrd_jax.errors import InputError, first_line, shown
from qcrd_jax.models.checks import LARGEST_VOCABULARY, MOST_POSITIONS
from qcrd_jax.models.foreign_files import (
    check_size,
    name,
    parse_object,
    read_bytes,
    read_json_object,
    shown_path,
)

FILES = (
    'config.json', 'tokenizer.json', 'tokenizer_config.json', 'special_tokens_map.json',
    'added_tokens.json', 'chat_template.jinja', 'additional_chat_templates/*.jinja', 'spiece.model',
)  # fmt: skip
"""What is read of a folder, as patterns."""

_TOKENIZER_BYTES = 32 << 20  # those of Llama 3 and mT5 have about 17 MB
_TOKENIZER_VALUES = 2_000_000
_TEMPLATE_BYTES = 1 << 20
_MOST_EXTRA_IDS = 10_000  # T5 has 100 sentinels
_TRIAL_BYTES = 128 << 20  # of memory, and for every byte of the file as many more:
_TRIAL_FACTOR = 64
_TRIAL_SECONDS = 120.0
# Fields of tokenizer_config.json by which transformers would open other files or take objects.
_FOREIGN = (
    'fast_tokenizer_files', 'gguf_file', 'init_inputs', 'merges_file', 'tokenizer_object',
    'tokenizer_padding', 'tokenizer_truncation', 'vocab_file',
)  # fmt: skip


def check_sizes(folder: pathlib.Path) -> None:
    """Refuses what is no file, or larger than any that a tokenizer is read from; opens nothing.

    Raises:
      InputError: naming the file.
    """
    for pattern in FILES:
        for path in folder.glob(pattern):
            check_size(path, _TOKENIZER_BYTES)


def check_files(folder: pathlib.Path) -> list[str]:
    """Looks at every file of a folder that a tokenizer may be read from.

    Returns:
      The code of its own that the folder names, which is never run.

    Raises:
      InputError: naming the file and the field that cannot be read as it is.
    """
    settings = _optional(folder / 'tokenizer_config.json')
    _check_settings(folder / 'tokenizer_config.json', settings)
    _optional(folder / 'special_tokens_map.json')
    for token, number in _optional(folder / 'added_tokens.json').items():
        _check_id(folder / 'added_tokens.json', name(token), number)
    for pattern in ('chat_template.jinja', 'additional_chat_templates/*.jinja'):
        for path in folder.glob(pattern):
            _check_text(path)
    path = folder / 'tokenizer.json'
    if os.path.lexists(path):
        data = read_bytes(path, _TOKENIZER_BYTES)
        _check_tokenizer(path, parse_object(shown_path(path), data, values=_TOKENIZER_VALUES))
        try_alone('tokenizers', path, len(data))
    elif os.path.lexists(folder / 'spiece.model'):
        path = folder / 'spiece.model'
        try_alone('sentencepiece', path, len(read_bytes(path, _TOKENIZER_BYTES)))
    return _code_of(settings)


def config_of(folder: pathlib.Path) -> transformers.PreTrainedConfig:
    """Returns what transformers chooses a tokenizer by: a config of the folder's type.

    It has the sizes that are usual, not those of the folder's config.json, which transformers would
    loop over.
    """
    fields = _optional(folder / 'config.json')
    try:
        config = transformers.AutoConfig.for_model(str(fields.get('model_type')))
    except Exception:  # no type, or one that transformers does not know or make by itself
        config = transformers.PreTrainedConfig()
    if isinstance(fields.get('tokenizer_class'), str):
        config.tokenizer_class = fields['tokenizer_class']
    return config


def try_alone(
    library: str, path: pathlib.Path, size: int, *, named: pathlib.Path | None = None
) -> None:
    """Has a file read in a process of its own, which may take only so much memory and time.

    Args:
      library: that reads it.
      path: of the file.
      size: of the file, in bytes.
      named: the file that it was made of, which an error names; None: itself.

    Raises:
      InputError: if the library refuses the file, or does not survive it.
    """
    command = [sys.executable, '-I', tokenizer_trial.__file__, library, str(path)]
    try:
        trial = subprocess.run(
            [*command, str(_TRIAL_BYTES + _TRIAL_FACTOR * size)],
            stdin=subprocess.DEVNULL,
            capture_output=True,  # a panic writes a page to stderr
            check=False,
            timeout=_TRIAL_SECONDS,
            env={**os.environ, 'TOKENIZERS_PARALLELISM': 'false', 'RUST_BACKTRACE': '0'},
            start_new_session=True,  # Ctrl-C is for us
        )
        reason = first_line(trial.stdout.decode(errors='replace')) if trial.returncode else ''
        if trial.returncode < 0:
            reason = f'the process that tries it dies of signal {-trial.returncode}'
    except subprocess.TimeoutExpired:
        reason = f'reading it takes more than {_TRIAL_SECONDS:.0f} s'
    if reason:
        raise InputError(f'{shown_path(named or path)}: cannot be read ({reason}).')


@contextlib.contextmanager
def readable(message: str) -> Iterator[None]:
    """Turns whatever the libraries raise into an InputError.

    Args:
      message: with a place `{reason}`.
    """
    try:
        yield
    except InputError:
        raise
    except BaseException as error:
        # A panic of Rust is no Exception, and its class cannot be imported.
        if not isinstance(error, Exception) and type(error).__name__ != 'PanicException':
            raise
        reason = first_line(str(error)) or type(error).__name__
        raise InputError(message.replace('{reason}', reason)) from error


def _optional(path: pathlib.Path) -> dict[str, Any]:
    return read_json_object(path) if os.path.lexists(path) else {}


def _check_settings(path: pathlib.Path, settings: dict[str, Any]) -> None:
    for field in _FOREIGN:
        if settings.get(field) not in (None, [], ''):
            raise InputError(
                f'{shown_path(path)}: {field}: expected no such field, which names other files or '
                f'replaces what tokenizer.json says; got {shown(settings[field])}. Remove it.'
            )
    longest = settings.get('model_max_length')
    if longest is not None and not (type(longest) in (int, float) and longest >= 1):
        _refuse(path, 'model_max_length', 'a number of at least 1', longest)
    extra = settings.get('extra_ids')
    if extra is not None and not (type(extra) is int and 0 <= extra <= _MOST_EXTRA_IDS):
        _refuse(path, 'extra_ids', f'a whole number from 0 to {_MOST_EXTRA_IDS}', extra)
    tokens = settings.get('added_tokens_decoder')
    if tokens is not None:
        if not isinstance(tokens, dict):
            _refuse(path, 'added_tokens_decoder', 'an object', tokens)
        for number in tokens:
            digits = number.isascii() and number.isdecimal() and len(number) < 10
            _check_id(path, 'added_tokens_decoder', int(number) if digits else number)
    code = settings.get('auto_map')
    if not isinstance(code, dict | list | None):
        _refuse(path, 'auto_map', 'an object', code)


def _code_of(settings: dict[str, Any]) -> list[str]:
    """Returns the classes in files of its own that a folder names; exported students name ''."""
    named = settings.get('auto_map') or []
    named = list(named.values()) if isinstance(named, dict) else named
    flat = [code for entry in named for code in (entry if isinstance(entry, list) else [entry])]
    return [code for code in flat if isinstance(code, str) and code]


def _check_text(path: pathlib.Path) -> None:
    try:
        read_bytes(path, _TEMPLATE_BYTES).decode('utf-8')
    except UnicodeDecodeError as error:
        raise InputError(f'{shown_path(path)}: not UTF-8 text ({error.reason}).') from error


def _check_tokenizer(path: pathlib.Path, state: dict[str, Any]) -> None:
    """Refuses a tokenizer.json with ids, or with other numbers, that no vocabulary has."""
    model = state.get('model')
    if not isinstance(model, dict) or not isinstance(model.get('vocab'), dict | list):
        _refuse(path, 'model', 'an object with a vocab', model)
    vocab: Any = model['vocab']
    if not 0 < len(vocab) <= LARGEST_VOCABULARY:
        _refuse(path, 'model.vocab', f'from 1 to {LARGEST_VOCABULARY} tokens', len(vocab))
    if isinstance(vocab, dict):
        for token, number in vocab.items():
            if type(number) is not int or not 0 <= number < LARGEST_VOCABULARY:
                _check_id(path, f'model.vocab: {name(token)}', number)
        if len(set(vocab.values())) < len(vocab):
            _refuse(path, 'model.vocab', 'an id of its own for every token', 'one id twice')
    added: Any = state.get('added_tokens') or []
    if not isinstance(added, list) or not all(isinstance(token, dict) for token in added):
        _refuse(path, 'added_tokens', 'a list of objects', added)
    for token in added:
        _check_id(path, 'added_tokens: id', token.get('id'))
    if len({token['id'] for token in added}) < len(added):
        _refuse(path, 'added_tokens', 'an id of its own for every token', 'one id twice')
    others = {key: value for key, value in model.items() if key not in ('vocab', 'merges')}
    _check_numbers(path, {**state, 'model': others, 'added_tokens': None})


def _check_numbers(path: pathlib.Path, value: Any, where: str = '') -> None:
    """Refuses numbers, such as lengths to pad to, that would have to be allocated."""
    if isinstance(value, dict):
        for key, inner in value.items():
            _check_numbers(path, inner, f'{where}.{name(key)}' if where else name(key))
    elif isinstance(value, list):
        for inner in value:
            _check_numbers(path, inner, where)
    elif type(value) in (int, float) and not -MOST_POSITIONS <= value <= MOST_POSITIONS:
        _refuse(path, where, f'a number from {-MOST_POSITIONS} to {MOST_POSITIONS}', value)


def _check_id(path: pathlib.Path, field: str, value: Any) -> None:
    if type(value) is not int or not 0 <= value < LARGEST_VOCABULARY:
        _refuse(path, field, f'an id from 0 to {LARGEST_VOCABULARY - 1}', value)


def _refuse(path: pathlib.Path, field: str, expected: str, got: Any) -> NoReturn:
    raise InputError(f'{shown_path(path)}: {field}: expected {expected}, got {shown(got)}.')
