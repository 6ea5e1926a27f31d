"""OpenAI's batch files: a request a line out, an answer or an error a line in.

OpenAI's Batch API, vLLM's `run-batch` and others take the same lines. What comes back is tied to
its request by a `custom_id`, in any order, and is as little trusted as what a server sends.
"""

import codecs
import dataclasses
import hashlib
import json
import os
import pathlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO

from qcrd_jax.errors import InputError
from qcrd_jax.teacher import journal, responses
from qcrd_jax.teacher.responses import Completion, Fault, FaultKind, Usage

URL = '/v1/chat/completions'

_MOST_REQUESTS = 50_000  # in a file, and
_MOST_BYTES = 200_000_000  # of a file, as OpenAI takes them
_MOST_OF_A_LINE = 1 << 26  # bytes; no answer is as long
_DEEPEST = 100  # objects within objects
_MARK = codecs.BOM_UTF8  # some editors begin a file with it
_CUSTOM_ID = re.compile(
    r'(?P<settings>[0-9a-f]{16})-(?P<first>[0-9a-f]{32})(?:-n(?P<n>[1-9][0-9]{0,2}))?'
)
_PARTS = re.compile(r'requests(?:-[0-9]{4,})?\.jsonl')

# Errors of requests that no model was asked, by OpenAI's code; the rest is `refused`.
_UNASKED: dict[str, FaultKind] = {
    'batch_expired': 'timeout',
    'request_timeout': 'timeout',
    'batch_cancelled': 'interrupted',
}


@dataclasses.dataclass(frozen=True)
class CustomId:
    """What a request is recognised by: opaque, 64 characters at most, the same on every run.

    Attributes:
      settings: the digest of how answers are drawn.
      first: 128 bits that stand for the key of the first sample it asks for.
      n: how many samples it asks for; the others follow the first.
    """

    settings: str
    first: int
    n: int = 1

    @classmethod
    def of(cls, record: Mapping[str, Any], key: Sequence[str], n: int = 1) -> 'CustomId':
        """Returns that of a request for `n` samples from a record on."""
        return cls(record['settings'], journal.digest(record, key), n)

    @classmethod
    def read(cls, text: Any) -> 'CustomId | None':
        """Returns what a text says, or None where it is none of ours.

        Examples:
          >>> CustomId.read('00112233445566ff-000000000000000000000000000000ff-n5')
          CustomId(settings='00112233445566ff', first=255, n=5)
          >>> CustomId.read('request-1')
        """
        match = _CUSTOM_ID.fullmatch(text) if isinstance(text, str) else None
        if match is None:
            return None
        return cls(match['settings'], int(match['first'], 16), int(match['n'] or 1))

    def __str__(self) -> str:
        shared = f'-n{self.n}' if self.n > 1 else ''
        return f'{self.settings}-{self.first:032x}{shared}'


def request_line(custom_id: CustomId, body: Mapping[str, Any]) -> bytes:
    """Returns the line that asks; it is ASCII, so that nobody's lines end in the midst of it."""
    request = {'custom_id': str(custom_id), 'method': 'POST', 'url': URL, 'body': body}
    return json.dumps(request).encode('ascii') + b'\n'


def write_requests(
    folder: pathlib.Path,
    lines: Iterable[bytes],
    *,
    most_requests: int = _MOST_REQUESTS,
    most_bytes: int = _MOST_BYTES,
) -> list[pathlib.Path]:
    """Writes `requests.jsonl`, or `requests-0001.jsonl` and so on where it would be too large.

    Those of an earlier call are removed: what stands there is what is to be asked. No lines: no
    file. A process killed meanwhile leaves none of the old ones beside a new one.

    Args:
      folder: of the files.
      lines: of the requests; consumed as they are written.
      most_requests: in a file.
      most_bytes: of a file, unless one line alone is longer.

    Returns:
      The files, in order.
    """
    for left in folder.glob('.requests-*.jsonl.tmp'):
        left.unlink()
    lines = iter(lines)
    line, written = next(lines, None), []
    while line is not None:
        written.append(folder / f'.requests-{len(written) + 1:04d}.jsonl.tmp')
        with open(written[-1], 'wb') as file:
            line = _fill(file, line, lines, most_requests, most_bytes)
            file.flush()
            os.fsync(file.fileno())
    for path in folder.iterdir():
        if _PARTS.fullmatch(path.name):
            path.unlink()
    if len(written) == 1:
        return [written[0].rename(folder / 'requests.jsonl')]
    return [path.rename(folder / path.name[1:].removesuffix('.tmp')) for path in written]


def _fill(
    file: BinaryIO, line: bytes, lines: Iterator[bytes], most_requests: int, most_bytes: int
) -> bytes | None:
    """Writes a line and as many more as there is room for; returns the next, None: no more."""
    requests = size = 0
    following: bytes | None = line
    while following is not None and (
        not requests or (requests < most_requests and size + len(following) <= most_bytes)
    ):
        file.write(following)
        requests, size = requests + 1, size + len(following)
        following = next(lines, None)
    return following


def response_files(folder: pathlib.Path) -> list[pathlib.Path]:
    """Returns `responses.jsonl` and all other `responses*.jsonl` of a folder, by name."""
    names = (path for path in folder.iterdir() if path.match('responses*.jsonl'))
    return sorted(path for path in names if path.is_file())


def response_lines(path: pathlib.Path) -> Iterator[tuple[int, int, bytes]]:
    """Yields (line number from 1, byte offset, line) of all that are not blank.

    A last line without an end is as it stands; of one that is longer than any answer only the
    beginning is read.
    """
    with open(path, 'rb') as file:
        number = offset = 0
        while True:
            line, length = _read_line(file)
            if not length:
                return
            number += 1
            start = len(_MARK) if number == 1 and line.startswith(_MARK) else 0
            if line[start:].strip():
                yield number, offset + start, line[start:]
            offset += length


def read_again(file: BinaryIO, offset: int) -> dict[str, Any]:
    """Returns the response of a line that was looked at before.

    Raises:
      InputError: if the file was changed since.
    """
    file.seek(offset)
    try:
        response = read_response(_read_line(file)[0])
    except ValueError:
        response = None
    if response is None:
        raise InputError(
            f'{file.name}: it changed while it was read. Wait until it is whole, then run the same '
            'command again.'
        )
    return response


def _read_line(file: BinaryIO) -> tuple[bytes, int]:
    """Reads a line, of which it returns no more than an answer can be long, and its length."""
    line = rest = file.readline(_MOST_OF_A_LINE)
    length = len(line)
    while len(rest) == _MOST_OF_A_LINE and not rest.endswith(b'\n'):
        rest = file.readline(_MOST_OF_A_LINE)
        length += len(rest)
    return line, length


def read_response(line: bytes) -> dict[str, Any] | None:
    """Returns the object of a line, or None if it is no answer and no error.

    Raises:
      ValueError: if the line is no JSON.
    """
    try:
        value = json.loads(line)
    except RecursionError as error:
        raise ValueError('nested too deeply') from error
    if not isinstance(value, dict) or not ('response' in value or 'error' in value):
        return None
    level: list[Any] = [value]
    for _ in range(_DEEPEST):
        level = [
            inner
            for holder in level
            for inner in (holder.values() if isinstance(holder, dict) else holder)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return value
    raise ValueError('nested too deeply')  # to be written again, if not to be read


def line_digest(response: Mapping[str, Any], choice: int = 0) -> str:
    """Returns what distinguishes one attempt at a request from every other: it has its own id."""
    text = json.dumps([response, choice], sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def read_results(
    response: Mapping[str, Any], prompt: str, max_tokens: int, n: int = 1
) -> list[Completion | Fault]:
    """Reads a response: its choices, or the one fault that it is instead.

    Args:
      response: the object of a line.
      prompt: what was asked.
      max_tokens: limit of one answer.
      n: how many were asked for.

    Returns:
      `n` answers or faults, in order, which share what the server counted: the first is charged the
      prompt, and each the tokens written in proportion to its length. Or one fault, of them all.
    """
    data, error = response.get('response'), response.get('error')
    status = data.get('status_code', 200) if isinstance(data, dict) else None
    body = data.get('body') if isinstance(data, dict) else None
    if status is None or (error is not None and status == 200 and not body):
        return [_read_unasked(error)]
    if type(status) is not int:
        return [Fault('malformed', 'a status_code that is no whole number')]
    if status != 200:
        return [responses.read_error(status, {}, _encode(body or error), 0.0)]
    whole = responses.read_completion(_encode(body), prompt, max_tokens * n)
    choices = body.get('choices') if isinstance(body, dict) else None
    if n == 1 or not isinstance(body, dict) or not isinstance(choices, list) or not choices:
        return [whole]
    rest = {name: value for name, value in body.items() if name != 'usage'}
    results = [
        responses.read_completion(
            _encode(rest | {'choices': _choice(choices, i)}), prompt, max_tokens
        )
        for i in range(n)
    ]
    return _share(results, whole.usage)


def _choice(choices: Sequence[Any], index: int) -> list[Any]:
    """Returns the choice of an index, alone; none where it is missing."""
    return [c for c in choices if isinstance(c, dict) and c.get('index') == index][:1]


def _share(results: Sequence[Completion | Fault], usage: Usage | None) -> list[Completion | Fault]:
    """Divides what was counted for one request among its results; the sum is what was counted."""
    guesses = [result.usage or Usage(0, 0) for result in results]
    if usage is None or usage.estimated:
        usage = Usage(
            guesses[0].prompt_tokens, sum(guess.completion_tokens for guess in guesses), True
        )
    whole = sum(guess.completion_tokens for guess in guesses) or 1
    shared, before, until = [], 0, 0
    for place, (result, guess) in enumerate(zip(results, guesses, strict=True)):
        until += guess.completion_tokens
        upto = usage.completion_tokens * until // whole
        if place == len(results) - 1:
            upto = usage.completion_tokens
        prompt_tokens = 0 if place else usage.prompt_tokens
        share = Usage(prompt_tokens, upto - before, usage.estimated)
        shared.append(dataclasses.replace(result, usage=share))
        before = upto
    return shared


def _read_unasked(error: Any) -> Fault:
    """Reads the error of a request that got no response, which nothing is charged for."""
    if isinstance(error, dict) and isinstance(error.get('error'), dict):
        error = error['error']  # as vLLM has it
    code = error.get('code') if isinstance(error, dict) else None
    known = code if isinstance(code, str) and code in _UNASKED else None
    # The words are cut and cleaned where a server's are.
    words = responses.read_error(500, {}, _encode({'error': error}), 0.0).message
    words = words.removeprefix('500: ')
    return Fault(_UNASKED[known], f'{known}: {words}') if known else Fault('refused', words)


def _encode(value: Any) -> bytes:
    return (
        value.encode('utf-8', 'replace') if isinstance(value, str) else json.dumps(value).encode()
    )
