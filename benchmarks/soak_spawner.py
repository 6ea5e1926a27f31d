"""Starts `run.py` again and again, each time as a process of its own, and imports only once.

It reads requests from standard input, one JSON object a line, and forks; the child becomes a
process as `python run.py` is one, with the same way to end. Nothing of JAX has run before the fork.
It answers with the child's process id, and with its status once it has ended.
"""

import json
import os
import resource
import runpy
import select
import signal
import sys
from typing import Any

_POLL = 0.01  # seconds between looks for children that have ended


def main() -> None:
    """Serves; in a child, becomes `run.py`."""
    import matplotlib.figure  # noqa: F401, the report draws

    from qcrd_jax import modes

    _say(ready=modes.__file__)
    request = _serve()
    if request is not None:
        sys.argv = ['run.py', *request['flags']]
        runpy.run_path('run.py', run_name='__main__')


def _serve() -> dict[str, Any] | None:
    """Returns the request in a child, and None in the parent when there are no more."""
    running: set[int] = set()
    while True:
        readable, _, _ = select.select([sys.stdin], [], [], _POLL)
        line = sys.stdin.readline() if readable else None
        if line == '':
            for pid in running:
                os.kill(pid, signal.SIGKILL)
            return None
        if line:
            request = json.loads(line)
            if (pid := os.fork()) == 0:
                _become(request)
                return request
            running.add(pid)
            _say(pid=pid)
        for pid in tuple(running):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                running.remove(pid)
                _say(ended=pid, status=os.waitstatus_to_exitcode(status))


def _become(request: dict[str, Any]) -> None:
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # as Python does, unless ignored
    for number, name in enumerate((os.devnull, request['out'], request['err'])):
        flags = os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        os.dup2(os.open(name, flags, 0o644), number)
    if request['largest_file']:
        resource.setrlimit(resource.RLIMIT_FSIZE, (request['largest_file'],) * 2)


def _say(**message: Any) -> None:
    print(json.dumps(message), flush=True)


if __name__ == '__main__':
    main()
