"""The tokens of a tokenizer that no text is made of: padding, EOS, what is unknown, and others."""

from typing import Any

import transformers

Tokenizer = transformers.PreTrainedTokenizerBase

STRANGER = '\U0010fffd'  # a character for private use, which no vocabulary has


def special_ids(tokenizer: Tokenizer) -> tuple[int, int]:
    """Returns the ids of padding and of EOS, which every tokenizer of ours has."""
    ids: Any = (tokenizer.pad_token_id, tokenizer.eos_token_id)
    return ids


def unknown_id(tokenizer: Tokenizer) -> int | None:
    """Returns the id that stands for what the tokenizer has no piece for.

    None: it has pieces for everything, as those have that fall back to bytes, whatever they name
    as their unknown token.
    """
    found: Any = tokenizer(STRANGER, add_special_tokens=False)['input_ids']
    unknown: Any = tokenizer.unk_token_id
    return unknown if unknown in found else None


def special_tokens(tokenizer: Tokenizer) -> list[str]:
    """Returns the texts that a tokenizer takes for tokens of its own: EOS, padding, sentinels."""
    added = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
    return sorted({*added, *tokenizer.all_special_tokens})
