"""An OpenAI-compatible server that misbehaves on schedule, over real HTTP, and remembers it.

with FaultServer(shuffled(['ok'] * 8 + ['html', 'reset'], seed=0)) as server:
    ... requests to server.url ...
server.log  # what it answered, and to what
"""

import dataclasses
import email.utils
import http.server
import itertools
import json
import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Sequence

# What the client is to call each kind that is not an answer.
FAULTS = {
    'malformed': 'malformed',
    'html': 'html',
    'no_choices': 'no_choices',
    'null_content': 'null_content',
    'empty': 'empty',
    'filtered': 'filtered',
    'SAFETY': 'filtered',
    'aborted': 'interrupted',
    'unfinished': 'interrupted',
    'cut': 'cut',
    'flood': 'too_large',
    '307': 'redirected',
    '400': 'rejected',
    '401': 'unauthorised',
    '403': 'unauthorised',
    '404': 'not_found',
    '402': 'refused',
    '429': 'rate_limit',
    '429-date': 'rate_limit',
    '429-long': 'rate_limit',
    '429-quota': 'refused',
    '400-quota': 'refused',
    '500': 'server_error',
    '502': 'server_error',
    '503': 'server_error',
    'slow': 'timeout',
    'drip': 'timeout',
    'reset': 'broken',
    'truncated': 'broken',
}
ANSWERS = ('ok', 'length', 'no_usage', 'stream', 'parts')
# With a usage that the server counts.
CHARGED = ('null_content', 'no_choices', 'empty', 'filtered', 'SAFETY', 'aborted', 'cut')


@dataclasses.dataclass(frozen=True)
class Answered:
    """One response: its number from 0, its kind, what was asked, its text, its usage, its times."""

    number: int
    kind: str
    question: str
    text: str
    tokens: tuple[int, int]
    began: float  # seconds of the monotonic clock
    answered: float


def shuffled(kinds: Sequence[str], seed: int) -> Callable[[int], str]:
    """The kinds in a random order, again and again in other orders."""
    generator = random.Random(seed)
    order: list[str] = []

    def kind(number: int) -> str:
        while len(order) <= number:
            order.extend(generator.sample(kinds, len(kinds)))
        return order[number]

    return kind


class FaultServer:
    """Answers `/v1/chat/completions`; the schedule says how it answers the n-th request."""

    def __init__(self, schedule: Callable[[int], str], delay: float = 0.0):
        self.schedule = schedule
        self.delay = delay
        self.log: list[Answered] = []
        self.paths: set[str] = set()
        self.authorizations: set[str] = set()
        self.asked: list[dict] = []
        self.largest_in_flight = 0
        self.closing = threading.Event()
        self._in_flight = 0
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        server = self

        class Handler(_Handler):
            faults = server

        self._http = _Server(('127.0.0.1', 0), Handler)
        self.url = f'http://127.0.0.1:{self._http.server_address[1]}/v1'

    def __enter__(self):
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.closing.set()
        self._http.shutdown()
        self._http.server_close()

    def begin(self) -> tuple[int, str]:
        with self._lock:
            self._in_flight += 1
            self.largest_in_flight = max(self.largest_in_flight, self._in_flight)
            number = next(self._numbers)
            return number, self.schedule(number)

    def end(self) -> None:
        with self._lock:
            self._in_flight -= 1

    def kinds(self) -> dict[str, int]:
        kinds = sorted({answered.kind for answered in self.log})
        return {kind: sum(answered.kind == kind for answered in self.log) for kind in kinds}


def events(text: str, body: dict, kind: str) -> bytes:
    """A response as a stream, or the most of it."""
    choices = [{'delta': {'content': part}} for part in (text[:5], text[5:])]
    chunks = [{'model': body['model'], 'choices': [choice]} for choice in choices]
    if kind == 'stream':
        end = [{'delta': {}, 'finish_reason': 'stop'}]
        chunks += [{'choices': end}, {'choices': [], 'usage': body['usage']}]
    return ''.join(f'data: {json.dumps(chunk)}\n\n' for chunk in chunks).encode()


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request, client_address):
        pass  # a client that was killed, or gave up waiting


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    disable_nagle_algorithm = True

    def do_POST(self):
        server = self.faults
        asked = json.loads(self.rfile.read(int(self.headers['content-length'])))
        server.paths.add(self.path)
        server.asked.append(asked)
        server.authorizations.add(self.headers['authorization'])
        prompt = asked['messages'][-1]['content']
        question = prompt.rsplit('Q: ', 1)[-1].removesuffix('\nA:')
        began = time.monotonic()
        number, kind = server.begin()
        text = f'<{number}> {question} The answer is ( {number} + 0 ).'
        tokens = (len(prompt) // 4, len(text) // 4)
        try:
            if server.delay:
                server.closing.wait(server.delay)
            # Before the answer leaves: whoever has it finds it in the log.
            now = time.monotonic()
            server.log.append(Answered(number, kind, question, text, tokens, began, now))
            self._answer(kind, text, tokens, prompt)
        finally:
            server.end()

    def _answer(self, kind: str, text: str, tokens: tuple[int, int], prompt: str) -> None:
        # Some servers repeat what they were sent.
        echo = f'wrong: {self.headers["authorization"]}'
        quota = 'insufficient_quota' if 'quota' in kind else ''
        error = {'error': {'message': echo, 'type': quota}}
        headers = {'x-echo': echo}
        choice = {
            'index': 0,
            'finish_reason': 'stop',
            'message': {'role': 'assistant', 'content': text},
        }
        body = {
            'model': 'served-model',
            'choices': [choice],
            'usage': {'prompt_tokens': tokens[0], 'completion_tokens': tokens[1]},
        }
        if kind in ('ok', 'slow', 'drip', 'truncated', 'reset'):
            pass
        elif kind == 'length':
            choice['finish_reason'] = 'length'
        elif kind == 'echo':
            choice['message']['content'] = body['model'] = echo
        elif kind == 'no_usage':
            del body['usage']
        elif kind == 'malformed':
            return self._send(200, json.dumps(body)[:-20].encode())
        elif kind == 'html':
            return self._send(200, b'<!DOCTYPE html><html>Please log in</html>', type='text/html')
        elif kind == 'no_choices':
            body['choices'] = []
        elif kind == 'null_content':
            choice['message']['content'] = None
        elif kind == 'empty':
            choice['message']['content'] = ' \n'
        elif kind == 'filtered':
            choice['finish_reason'] = 'content_filter'
        elif kind == 'SAFETY':
            choice['finish_reason'] = kind
        elif kind == 'aborted':
            choice['finish_reason'] = {'type': 'abort'}
        elif kind == 'cut':
            choice['finish_reason'] = 'MAX_TOKENS'
            choice['message'] = {'content': None, 'reasoning_content': text}
        elif kind == 'parts':
            parts = [{'type': 'thinking', 'thinking': 'Hm.'}, {'type': 'text', 'text': text}]
            choice['message']['content'] = parts
        elif kind in ('stream', 'unfinished'):
            return self._send(200, events(text, body, kind), type='text/event-stream')
        elif kind == 'flood':
            self._send(200, b'', headers | {'Content-Length': str(1 << 30)})
            for _ in range(1 << 10):
                self.wfile.write(b' ' * (1 << 20))
            return None
        elif kind == '307':
            headers['Location'] = 'http://127.0.0.2:1/v1/chat/completions'
        elif kind == '429':
            headers['Retry-After'] = '0.5'
        elif kind == '429-date':
            headers['Retry-After'] = email.utils.formatdate(time.time() + 1, usegmt=True)
        elif kind == '429-long':
            headers['Retry-After'] = '7200'
        if kind[:1].isdigit():
            return self._send(int(kind[:3]), json.dumps(error).encode(), headers)
        if kind == 'slow':
            return self.faults.closing.wait(30)
        data = json.dumps(body).encode()
        if kind == 'reset':
            linger = struct.pack('ii', 1, 0)  # close sends RST
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.close_connection = True
            return self.connection.close()
        if kind == 'truncated':
            self._send(200, data[:-30], headers | {'Content-Length': str(len(data))})
            self.close_connection = True
            return self.connection.shutdown(socket.SHUT_RDWR)
        if kind == 'drip':
            self._send(200, b'', headers | {'Content-Length': str(len(data))})
            for byte in data:
                self.wfile.write(bytes([byte]))
                if self.faults.closing.wait(0.1):
                    break
            return None
        return self._send(200, data, headers)

    def _send(self, status, body, headers=None, type='application/json'):
        self.send_response(status)
        for name, value in {
            'Content-Type': type,
            'Content-Length': str(len(body)),
            **(headers or {}),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass
