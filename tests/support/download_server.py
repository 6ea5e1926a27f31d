"""A server on this machine that resumes, breaks, lies and changes its mind."""

import contextlib
import http.server
import re

DATA = bytes(range(256)) * 1000  # 256 000 bytes: four reads
URL_PATH = '/data.bin'


class Server(http.server.ThreadingHTTPServer):
    """Sends `data`, by ranges too, unless one of `faults` says otherwise for the next request.

    Attributes:
      data: what is sent.
      headers: sent with it.
      faults: functions of the request's handler, used up one a request.
      asked: (Range, If-Range) of each request; None where there was none.
    """

    daemon_threads = True

    def __init__(self, data=DATA):
        super().__init__(('127.0.0.1', 0), Handler)
        self.data, self.headers, self.faults, self.asked = data, {'ETag': '"1"'}, [], []

    @property
    def url(self):
        return f'http://127.0.0.1:{self.server_port}{URL_PATH}'


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append((self.headers['Range'], self.headers['If-Range']))
        assert self.headers['Accept-Encoding'] == 'identity'
        if self.server.faults:
            self.server.faults.pop(0)(self)
        else:
            self.answer()

    def answer(self, send=None):
        """Answers as a good server does, but stops after `send` bytes of the body."""
        data, start = self.server.data, 0
        range_, if_range = self.headers.get('Range'), self.headers.get('If-Range')
        if range_ and if_range in (None, *self.server.headers.values()):
            start = int(re.fullmatch(r'bytes=(\d+)-', range_)[1])
            if start >= len(data):
                return self.reply(416, b'', {'Content-Range': f'bytes */{len(data)}'})
            part = {'Content-Range': f'bytes {start}-{len(data) - 1}/{len(data)}'}
            return self.reply(206, data[start:], part, send)
        return self.reply(200, data, {}, send)

    def reply(self, status, body, headers, send=None):
        self.send_response(status)
        headers = {'Content-Length': len(body), **self.server.headers, **headers}
        for name, value in headers.items():
            if value is not None:
                self.send_header(name, str(value))
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            self.wfile.write(body[:send])
        self.close_connection = True

    def log_message(self, *args):
        pass


def breaking(after):
    return lambda handler: handler.answer(send=after)


def replying(status, body=b'', **headers):
    named = {name.replace('_', '-'): value for name, value in headers.items()}
    return lambda handler: handler.reply(status, body, named)
