"""A Chromium that looks at pages, driven through its own debugging pipe: it needs no package.

It is the one that QCRD_CHROMIUM names, else the first on the PATH, else one that Playwright
installed (`pip install playwright && playwright install chromium`).
"""

import base64
import json
import os
import pathlib
import select
import shutil
import subprocess
import sys
import time

NAMES = ('chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable', 'chrome')
PLAYWRIGHT = '.cache/ms-playwright/chromium*/chrome-*/*'
OPTIONS = (
    '--headless', '--remote-debugging-pipe', '--disable-gpu', '--no-first-run', '--mute-audio',
    '--disable-background-networking', '--disable-component-update', '--disable-sync',
    '--disable-dev-shm-usage', '--hide-scrollbars', '--no-proxy-server',
    '--host-resolver-rules=MAP * ~NOTFOUND',
)  # fmt: skip
# The browser reads its commands from descriptor 3 and answers on 4.
LAUNCH = """
import fcntl, os, sys
read, write = (fcntl.fcntl(int(n), fcntl.F_DUPFD, 10) for n in sys.argv[1:3])
os.dup2(read, 3), os.dup2(write, 4)
os.execv(sys.argv[3], sys.argv[3:])
"""
PATIENCE = 60.0  # seconds


def executable() -> str | None:
    """The path of a Chromium; None where there is none."""
    named = os.environ.get('QCRD_CHROMIUM', '')
    if named:
        return shutil.which(named)
    found = next(filter(None, map(shutil.which, NAMES)), None)
    installed = sorted(pathlib.Path.home().glob(PLAYWRIGHT))
    others = [str(p) for p in installed if p.name in ('chrome', 'headless_shell')]
    return found or next(iter(others), None)


class Browser:
    """A browser with a profile of its own, ended at the end of the `with`."""

    def __init__(self, path: str, profile: pathlib.Path):
        self._options = [*OPTIONS, f'--user-data-dir={profile}']
        if os.geteuid() == 0:
            self._options.append('--no-sandbox')
        self._path, self._number, self._buffer = path, 0, b''
        self.events: list[dict] = []

    def __enter__(self):
        theirs, self._write = os.pipe()
        self._read, answers = os.pipe()
        self._process = subprocess.Popen(
            [sys.executable, '-c', LAUNCH, str(theirs), str(answers), self._path, *self._options],
            pass_fds=(theirs, answers), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(theirs)
        os.close(answers)
        return self

    def __exit__(self, *_):
        try:
            self.call('Browser.close')
            self._process.wait(10)
        except (OSError, AssertionError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        os.close(self._write)
        os.close(self._read)

    def call(self, method: str, session: str | None = None, **params):
        """Sends a command and waits for its result; events on the way are kept."""
        self._number += 1
        message = {'id': self._number, 'method': method, 'params': params}
        message |= {'sessionId': session} if session else {}
        os.write(self._write, json.dumps(message).encode() + b'\0')
        while True:
            answer = self.next_message()
            if answer.get('id') == self._number:
                assert 'error' not in answer, answer['error']
                return answer['result']
            self.events.append(answer)

    def next_message(self) -> dict:
        end = time.monotonic() + PATIENCE
        while b'\0' not in self._buffer:
            ready, _, _ = select.select([self._read], [], [], max(end - time.monotonic(), 0))
            assert ready, 'the browser does not answer'
            part = os.read(self._read, 1 << 16)
            assert part, 'the browser has ended'
            self._buffer += part
        message, _, self._buffer = self._buffer.partition(b'\0')
        return json.loads(message)

    def open(self, path: pathlib.Path, *, width: int = 1280, dark: bool = False) -> 'Page':
        """Opens a file and waits until it is loaded."""
        return Page(self, path, width, dark)


class Page:
    """A page in a tab of its own.

    Attributes:
      faults: what the console and the policy said while it loaded, and exceptions.
      requests: the addresses that it asked for.
    """

    def __init__(self, browser: Browser, path: pathlib.Path, width: int, dark: bool):
        self._browser = browser
        target = browser.call('Target.createTarget', url='about:blank')['targetId']
        attached = browser.call('Target.attachToTarget', targetId=target, flatten=True)
        self._session = attached['sessionId']
        self._events = len(browser.events)
        for domain in ('Page', 'Runtime', 'Log', 'Network'):
            self.call(f'{domain}.enable')
        self.call(
            'Emulation.setDeviceMetricsOverride',
            width=width, height=900, deviceScaleFactor=1, mobile=False,
        )  # fmt: skip
        scheme = {'name': 'prefers-color-scheme', 'value': 'dark' if dark else 'light'}
        self.call('Emulation.setEmulatedMedia', media='screen', features=[scheme])
        self._load('Page.navigate', url=path.resolve().as_uri())

    def _load(self, method: str, **params):
        self._events = len(self._browser.events)
        self.call(method, **params)
        while not self._said('Page.loadEventFired'):
            self._browser.events.append(self._browser.next_message())

    def reload(self) -> None:
        """Loads the page anew and waits until it is loaded."""
        self._load('Page.reload')

    def call(self, method: str, **params):
        """A command to this page."""
        return self._browser.call(method, self._session, **params)

    def _said(self, *methods: str) -> list[dict]:
        return [
            event
            for event in self._browser.events[self._events :]
            if event.get('sessionId') == self._session and event['method'] in methods
        ]

    @property
    def faults(self) -> list[dict]:
        self.evaluate('0')  # what was said before has arrived
        return self._said('Runtime.exceptionThrown', 'Runtime.consoleAPICalled', 'Log.entryAdded')

    @property
    def requests(self) -> list[str]:
        return [
            event['params']['request']['url'] for event in self._said('Network.requestWillBeSent')
        ]

    def evaluate(self, script: str):
        """The value of a script's last expression."""
        answer = self.call('Runtime.evaluate', expression=script, returnByValue=True)
        assert 'exceptionDetails' not in answer, answer['exceptionDetails']
        return answer['result'].get('value')

    def screenshot(self, path: pathlib.Path, selector: str = 'body', most: int = 2000) -> None:
        """Writes what an element looks like, as PNG."""
        box = self.evaluate(
            f'(r => [r.x + scrollX, r.y + scrollY, r.width, r.height])'
            f'(document.querySelector({selector!r}).getBoundingClientRect())'
        )
        clip = dict(zip(('x', 'y', 'width', 'height'), box, strict=True), scale=1)
        clip['height'] = min(clip['height'], most)
        answer = self.call('Page.captureScreenshot', clip=clip, captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(answer['data']))
