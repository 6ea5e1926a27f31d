"""Chat messages as questions and answers.

The last turn of the user is the question, and what the assistant says to it are the answers, each a
sample. What was said before, and what the system was told, is not part of the question.

  {"messages": [{"role": "user", "content"}, {"role": "assistant", "content"}, ...], "label"}

`conversations` with `from` and `value` (ShareGPT) are the same in other words.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

from qcrd_jax.data.sources.questions import Unexpected, required_text

TEACHER = 'assistant'  # where a record does not say who it was

REASONING = ('reasoning', 'reasoning_content')
"""The fields in which servers give what a model thought before it spoke."""

_ROLES = {
    'system': 'system',
    'developer': 'system',
    'user': 'user',
    'human': 'user',
    'assistant': 'assistant',
    'gpt': 'assistant',
    'model': 'assistant',
    'bot': 'assistant',
    'tool': 'tool',
    'function': 'tool',
}
_SPOKEN = ('text', 'input_text', 'output_text')  # types of parts
_THOUGHT = ('thinking', 'reasoning')


def is_conversation(record: Mapping[str, Any]) -> bool:
    """Returns whether a record holds messages, and not a question with answers besides."""
    answered = 'input' in record and ('text' in record or 'samples' in record)
    return not answered and ('messages' in record or 'conversations' in record)


def plain(record: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the record of a conversation with `input` and `samples`, as other records have them.

    Args:
      record: with `messages` or `conversations`, and `label`; `input` has its way over the turn of
        the user. Its other fields stay.

    Raises:
      Unexpected: if the messages are not as they should be.
    """
    field = 'messages' if 'messages' in record else 'conversations'
    turns = _turns(record[field], field)
    asked = max((place for place, (role, *_) in enumerate(turns) if role == 'user'), default=None)
    if asked is None:
        raise Unexpected(field, 'a turn of the user', record[field])
    answer = {name: record[name] for name in ('sample',) if name in record}
    answer['teacher'] = record.get('teacher', TEACHER)
    samples = [
        {**answer, 'text': text, 'reasoning': reasoning}
        for role, text, reasoning in turns[asked + 1 :]
        if role == 'assistant' and (text.strip() or reasoning.strip())
    ]
    kept = {name: value for name, value in record.items() if name not in ('text', field)}
    question = required_text({f'{field}[{asked}]': turns[asked][1]}, f'{field}[{asked}]')
    return {'input': question.strip(), **kept, 'samples': samples}


def digest(*texts: str) -> str:
    """Returns what stands for a question that has no id: the same for the same texts."""
    joined = '\0'.join(' '.join(text.split()) for text in texts)
    return hashlib.blake2b(joined.encode(), digest_size=8).hexdigest()


def _turns(messages: Any, field: str) -> list[tuple[str, str, str]]:
    """Returns (role, text, reasoning) of every message."""
    if not isinstance(messages, list):
        raise Unexpected(field, 'a list of messages', messages)
    return [_turn(message, f'{field}[{place}]') for place, message in enumerate(messages)]


def _turn(message: Any, field: str) -> tuple[str, str, str]:
    if not isinstance(message, dict):
        raise Unexpected(field, 'an object', message)
    named = 'role' if message.get('role') is not None else 'from'
    name = message.get(named)
    role = _ROLES.get(name.lower()) if isinstance(name, str) else None
    if role is None:
        expected = f'one of {", ".join(dict.fromkeys(_ROLES.values()))}'
        raise Unexpected(f'{field}.{"role" if name is None else named}', expected, name)
    if role not in ('user', 'assistant') or message.get('tool_calls'):
        return 'tool' if role == 'assistant' else role, '', ''  # a call is not what it says
    said = 'content' if message.get('content') is not None else 'value'
    content = message.get(said)
    if content is None and role == 'assistant':
        content = ''  # it may have thought and not spoken
    text, reasoning = _content(content, f'{field}.{"content" if content is None else said}')
    for key in REASONING:
        given = message.get(key)
        if given is not None and not isinstance(given, str):
            raise Unexpected(f'{field}.{key}', 'a text', given)
        reasoning = reasoning or given or ''
    return role, text, reasoning


def _content(content: Any, field: str) -> tuple[str, str]:
    """Returns the text and the thoughts of a message: a text, or a list of parts."""
    if isinstance(content, str):
        return content, ''
    if not isinstance(content, list):
        raise Unexpected(field, 'a text or a list of parts', content)
    texts, thoughts = [], []
    for place, part in enumerate(content):
        kind = part.get('type') or 'text' if isinstance(part, dict) else 'text'
        known = kind in _SPOKEN or kind in _THOUGHT
        value = part if isinstance(part, str) else None
        if isinstance(part, dict) and known:
            value = part.get('text') if kind in _SPOKEN else part.get(kind, part.get('text'))
        if not isinstance(value, str):
            raise Unexpected(f'{field}[{place}]', 'a part with a text', part)
        (texts if kind in _SPOKEN else thoughts).append(value)
    return '\n'.join(texts), '\n'.join(thoughts)
