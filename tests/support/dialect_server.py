"""A server over real HTTP that answers in whatever words a test gives it, and bombs of bytes.

with DialectServer(lambda asked: Reply(answer('It is 4.'))) as server:
    ... requests to server.url ...
server.asked  # the bodies that came
"""

import dataclasses
import http.server
import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tests.support.local_server import LocalServer

GIB = 1 << 30
MIB = 1 << 20
USAGE = {'prompt_tokens': 7, 'completion_tokens': 5}


@dataclasses.dataclass(frozen=True)
class Reply:
    """A response: bytes with their length, or an iterator, in chunks or until the connection ends.

    `length` is declared in the place of the true one.
    """

    body: bytes | Iterator[bytes] = b''
    status: int = 200
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    chunked: bool = True
    length: int | None = None


def answer(content: Any, finish_reason: Any = 'stop', **fields: Any) -> bytes:
    """A whole response with one message."""
    message = {'role': 'assistant', 'content': content} | fields
    choice = {'index': 0, 'finish_reason': finish_reason, 'message': message}
    return json.dumps({'model': 'served', 'choices': [choice], 'usage': USAGE}).encode()


def error(message: str, status: int = 400, **fields: Any) -> Reply:
    """An error in OpenAI's form."""
    return Reply(json.dumps({'error': {'message': message} | fields}).encode(), status)


def endless(size: int = GIB, start: bytes = b'{"x": "') -> Iterator[bytes]:
    """So many bytes, made as they are sent."""
    yield start
    for _ in range(size // MIB):
        yield b'a' * MIB


def bomb(window: int, size: int = GIB) -> bytes:
    """A small stream that becomes a large one: gzip (window 31), zlib (15), deflate (-15)."""
    packer = zlib.compressobj(9, zlib.DEFLATED, window)
    data = packer.compress(b' ' * MIB) + packer.flush(zlib.Z_FULL_FLUSH)
    # From here on every block is the same and refers to nothing before it.
    block = packer.compress(b' ' * MIB) + packer.flush(zlib.Z_FULL_FLUSH)
    return data + block * (size // MIB - 1) + packer.flush()


class DialectServer(LocalServer):
    """Answers every POST by what `reply` makes of its JSON; a thread for each connection."""

    def __init__(self, reply: Callable[[dict[str, Any]], Reply]):
        self.asked: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.sent = 0  # bytes of bodies that were taken off our hands
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = 'HTTP/1.1'
            disable_nagle_algorithm = True

            def do_POST(self):
                asked = json.loads(self.rfile.read(int(self.headers['content-length'])))
                server.asked.append(asked)
                server.paths.append(self.path)
                server.headers.append({k.lower(): value for k, value in self.headers.items()})
                self._send(reply(asked))

            def _send(self, sent: Reply) -> None:
                whole = sent.body if isinstance(sent.body, bytes) else None
                length = len(whole) if whole is not None else None
                length = length if sent.length is None else sent.length
                self.send_response(sent.status)
                for name, value in sent.headers.items():
                    self.send_header(name, value)
                if length is not None:
                    self.send_header('Content-Length', str(length))
                elif sent.chunked:
                    self.send_header('Transfer-Encoding', 'chunked')
                else:
                    self.send_header('Connection', 'close')
                    self.close_connection = True
                self.end_headers()
                chunked = length is None and sent.chunked
                for part in [whole] if whole is not None else sent.body:
                    self.wfile.write(b'%x\r\n%b\r\n' % (len(part), part) if chunked else part)
                    server.sent += len(part)
                if chunked:
                    self.wfile.write(b'0\r\n\r\n')

            def log_message(self, *_):
                pass

        self.listen(Handler)
