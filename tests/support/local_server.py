"""What every server of the tests has: an address on this machine, for as long as a block runs."""

import http.server
import threading


class LocalServer:
    """A server over real HTTP on a free port; a subclass calls `listen` with its handler.

    Attributes:
      port: that it listens on.
      url: of its API.
    """

    def listen(self, handler: type[http.server.BaseHTTPRequestHandler]) -> None:
        self._http = http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler)
        self._http.daemon_threads = True
        self._http.handle_error = lambda *_: None  # clients that had enough, or were killed
        self.port = self._http.server_address[1]
        self.url = f'http://127.0.0.1:{self.port}/v1'

    def __enter__(self):
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self._http.shutdown()
        self._http.server_close()
