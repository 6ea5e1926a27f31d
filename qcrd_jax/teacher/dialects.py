"""The dialects in which servers say the same: a response in any of them, in the plainest one.

Some stream although they were not asked to, some send content in parts, and reasoning has as many
names as there are servers. What cannot be read for sure is a `ValueError`, never half an answer.
"""

import dataclasses
import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

# What may stand between two JSON values, and behind the last.
_BETWEEN = re.compile(r'(?:[\s\0\ufeff]|data:|\[DONE\])*')
_EVENT = re.compile(r'[\s\ufeff]*(?:data|event|id|retry)?:')  # a line of a stream of events
_LINES = re.compile(r'\r\n|\n|\r')  # the other separators may stand in JSON as they are

# In the order in which they are believed; a server that sends several repeats itself.
_REASONING = ('reasoning_content', 'reasoning', 'thinking', 'reasoning_details', 'thinking_blocks')
_WORDS = ('text', 'thinking', 'reasoning', 'reasoning_content', 'summary', 'content')  # of a part
_DEEPEST = 4  # parts within parts

LENGTH, FILTERED, INTERRUPTED = 'length', 'content_filter', 'interrupted'
# By what occurs in them: `MAX_TOKENS`, `model_length`, `SAFETY`, `user_cancelled`, ...
_FINISHED = {
    FILTERED: (
        'filter|safety|recitation|prohibit|blocklist|blocked|spii|toxic|guardrail|sensitiv|moderat'
        '|refus'
    ),
    LENGTH: 'length|limit|max|truncat|context|incomplete',
    INTERRUPTED: 'error|abort|cancel|interrupt|fail|malformed|insufficient',
}


@dataclasses.dataclass(frozen=True)
class Said:
    """A message.

    Attributes:
      text: its content; None where that is null.
      reasoning: what the model thought before it; '' where the server does not show it.
      refusal: why it does not answer; '' where it does not say.
    """

    text: str | None
    reasoning: str
    refusal: str


def read_values(body: bytes) -> Iterator[Any]:
    """Yields the JSON values of a body: of JSON, of JSON lines, or of a stream of events.

    Raises:
      ValueError: where something else stands.
      RecursionError: where a value is nested too deeply.
    """
    text = body.decode(json.detect_encoding(body), 'surrogatepass')
    if _EVENT.match(text):
        lines = _LINES.split(text)
        data = [line[len('data:') :] for line in lines if line.startswith('data:')]
        # Plain JSON may follow comments that were sent to keep the connection alive.
        text = '\n'.join(data or [line for line in lines if not _EVENT.match(line)])
    decoder, place = json.JSONDecoder(), 0
    while (place := _end_of_gap(text, place)) < len(text):
        value, place = decoder.raw_decode(text, place)
        yield value


def _end_of_gap(text: str, place: int) -> int:
    gap = _BETWEEN.match(text, place)
    return gap.end() if gap else place


def read_body(body: bytes) -> Any:
    """Returns the response that a body holds; of a stream, the one that it adds up to.

    Raises:
      ValueError: if it holds none, or several.
      RecursionError: if a value is nested too deeply.
    """
    values = read_values(body)
    try:
        first = next(values)
    except StopIteration:
        raise ValueError('an empty body') from None
    if _is_whole(first):
        # Whatever stands behind it; but a second answer leaves open which is meant.
        if any(map(_first_choice, _until_garbage(values))):
            raise ValueError('several answers')
        return first
    second = next(values, None)
    if second is None and 'delta' not in _first_choice(first):
        return first
    rest = [] if second is None else [second]
    return _join(itertools.chain([first], rest, values), done=body.rstrip().endswith(b'[DONE]'))


def _until_garbage(values: Iterator[Any]) -> Iterator[Any]:
    try:
        yield from values
    except (ValueError, RecursionError):
        return


def _first_choice(value: Any) -> Mapping[str, Any]:
    choices = value.get('choices') if isinstance(value, dict) else None
    choice = choices[0] if isinstance(choices, list) and choices else None
    return choice if isinstance(choice, dict) else {}


def _is_whole(value: Any) -> bool:
    choice = _first_choice(value)
    return isinstance(choice.get('message'), dict) and not choice.get('delta')


def _join(chunks: Iterable[Any], *, done: bool) -> dict[str, Any]:
    """Adds up the chunks of a stream; without a reason or a mark of its end it was interrupted."""
    whole: dict[str, Any] = {}
    parts: dict[str, list[str]] = {'content': [], 'reasoning': [], 'refusal': []}
    reason: Any = None
    for chunk in chunks:
        if not isinstance(chunk, dict):
            raise ValueError(f'a chunk that is a {type(chunk).__name__}')
        if chunk.get('error'):
            return whole | {'error': chunk['error']}
        groq = chunk.get('x_groq')
        usage = chunk.get('usage') or (groq.get('usage') if isinstance(groq, dict) else None)
        new = {'model': chunk.get('model'), 'usage': usage}
        whole |= {name: value for name, value in new.items() if value}
        choice = _first_choice(chunk)
        if _is_whole(chunk):
            raise ValueError('a whole answer within a stream')
        reason = choice.get('finish_reason') or reason
        delta = choice.get('delta')
        if choice.get('index') in (0, None) and isinstance(delta, dict):
            said = read_message(delta)
            new = {'content': said.text, 'reasoning': said.reasoning, 'refusal': said.refusal}
            for name, value in new.items():
                parts[name] += [value] if value is not None else []
    if not any(parts.values()):
        return whole | {'choices': []}
    message = {name: ''.join(texts) if texts else None for name, texts in parts.items()}
    reason = reason or ('' if done else INTERRUPTED)
    return whole | {'choices': [{'finish_reason': reason, 'message': message}]}


def read_message(message: Mapping[str, Any]) -> Said:
    """Reads a message, or the part of one that a chunk brings.

    Raises:
      ValueError: if its content is neither text nor parts of text.

    Examples:
      >>> parts = [{'type': 'thinking', 'thinking': '2 + 2'}, {'type': 'text', 'text': 'It is 4.'}]
      >>> read_message({'content': parts})
      Said(text='It is 4.', reasoning='2 + 2', refusal='')
      >>> read_message({'content': None, 'reasoning_content': '2 + 2'})
      Said(text=None, reasoning='2 + 2', refusal='')
    """
    content = message.get('content')
    refusal = message.get('refusal')
    refusals = [refusal] if isinstance(refusal, str) else []
    thoughts: list[str] = []
    if isinstance(content, dict | list):
        parts = [content] if isinstance(content, dict) else content
        if not all(isinstance(part, dict) for part in parts):
            raise ValueError(f'content that is a {type(content).__name__}')
        kinds = [(str(part.get('type') or 'text'), part) for part in parts]
        thoughts = [
            _words(part) for kind, part in kinds if re.search('think|reason|thought|summary', kind)
        ]
        refusals += [str(part.get('refusal')) for kind, part in kinds if kind == 'refusal']
        content = ''.join(_words(part) for kind, part in kinds if kind in ('text', 'output_text'))
    elif content is not None and not isinstance(content, str):
        raise ValueError(f'content that is a {type(content).__name__}')
    named = (_words(message.get(name)) for name in _REASONING)
    reasoning = next((text for text in named if text), '\n'.join(filter(None, thoughts)))
    return Said(content, reasoning, ' '.join(refusals))


def _words(value: Any, depth: int = 0) -> str:
    """The text in a part, wherever it keeps it."""
    if isinstance(value, str):
        return value
    if depth < _DEEPEST and isinstance(value, list):
        return '\n'.join(filter(None, (_words(part, depth + 1) for part in value)))
    if depth < _DEEPEST and isinstance(value, dict):
        return next(filter(None, (_words(value.get(name), depth + 1) for name in _WORDS)), '')
    return ''


def read_finish_reason(choice: Mapping[str, Any]) -> str:
    """Returns why an answer ends: `LENGTH`, `FILTERED`, `INTERRUPTED`, or the server's own word.

    Examples:
      >>> read_finish_reason({'finish_reason': 'MAX_TOKENS'})
      'length'
      >>> read_finish_reason({'finish_reason': {'type': 'stop', 'matched': 2}})
      'stop'
    """
    names = ('finish_reason', 'finishReason', 'finish_details')
    reason = next((choice[name] for name in names if choice.get(name)), '')
    if isinstance(reason, dict):
        reason = reason.get('type') or reason.get('reason') or ''
    if not isinstance(reason, str):
        return ''
    for name, words in _FINISHED.items():
        if re.search(words, reason.lower()):
            return name
    return reason
