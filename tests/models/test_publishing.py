"""Publishing a student, against a server that speaks the part of the Hub that it takes."""

import base64
import http.server
import json
import threading

import pytest
from huggingface_hub import constants

from qcrd_jax.errors import InputError
from qcrd_jax.models.publishing import publish

FILES = {'config.json': '{"model_type": "t5"}', 'README.md': '---\nlicense: mit\n---\n# Card\n'}


class Hub(http.server.BaseHTTPRequestHandler):
    """Takes every file as a regular one, in the commit itself."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get('Content-Length', 0)))
        hub = self.server
        hub.asked.append((self.path, self.headers.get('Authorization')))
        if self.headers.get('Authorization') != 'Bearer right':
            return self._answer(401, {'error': 'Invalid username or password.'})
        if self.path == '/api/repos/create':
            hub.created = json.loads(body)
            return self._answer(200, {'url': f'{hub.endpoint}/me/student', 'name': 'me/student'})
        if self.path == '/api/validate-yaml':
            return self._answer(200, {'errors': [], 'warnings': []})
        if self.path == '/api/models/me/student/preupload/main':
            asked = json.loads(body)['files']
            modes = [
                {'path': each['path'], 'uploadMode': 'regular', 'shouldIgnore': False}
                for each in asked
            ]
            return self._answer(200, {'files': modes})
        if self.path.startswith('/api/models/me/student/commit/main'):
            for line in body.splitlines():
                record = json.loads(line)
                if record['key'] == 'file':
                    content = base64.b64decode(record['value']['content'])
                    hub.files[record['value']['path']] = content.decode()
                else:
                    hub.message = record['value']['summary']
            address = f'{hub.endpoint}/me/student/commit/abc'
            return self._answer(200, {'commitOid': 'abc', 'commitUrl': address})
        return self._answer(404, {'error': f'nothing at {self.path}'})

    def do_GET(self):
        self._answer(404, {'error': 'nothing'})

    def _answer(self, status, value):
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header('Content-Type', 'application/json')
        self.send_header('Content-Length', str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


@pytest.fixture
def hub(monkeypatch):
    server = http.server.ThreadingHTTPServer(('localhost', 0), Hub)
    server.endpoint = f'http://localhost:{server.server_port}'
    server.asked, server.files, server.created, server.message = [], {}, None, None
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setattr(constants, 'ENDPOINT', server.endpoint)
    monkeypatch.setenv('HF_TOKEN', 'right')
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def folder(tmp_path):
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def test_a_folder_becomes_a_commit(hub, folder):
    assert publish(folder, 'me/student') == f'{hub.endpoint}/me/student/commit/abc'
    assert hub.files == FILES
    assert hub.message == 'A student distilled by qcrd_jax'
    assert (hub.created['name'], hub.created['organization']) == ('student', 'me')
    assert hub.created.get('private') is True or hub.created.get('visibility') == 'private'


def test_a_token_that_may_not_write_is_one_clear_line(hub, folder, monkeypatch):
    monkeypatch.setenv('HF_TOKEN', 'wrong-secret')
    with pytest.raises(InputError) as caught:
        publish(folder, 'me/student')
    message = str(caught.value)
    assert message.startswith(f'--push: me/student could not be written at {hub.endpoint} (')
    assert (
        '401' in message and 'HF_TOKEN' in message and f'hf upload me/student {folder}' in message
    )
    assert '\n' not in message and 'wrong-secret' not in message


def test_no_network_is_one_clear_line(folder, monkeypatch):
    monkeypatch.setattr(constants, 'ENDPOINT', 'http://localhost:9')
    monkeypatch.setenv('HF_TOKEN', 'right')
    with pytest.raises(
        InputError, match=r'could not be written at http://localhost:9 \(.*nothing is'
    ):
        publish(folder, 'me/student')


@pytest.mark.parametrize('name', ['me/of/three', '../there', 'me/a b', ''])
def test_a_name_that_is_none_is_refused(folder, name):
    with pytest.raises(InputError, match='--push: expected <user>/<name>, got'):
        publish(folder, name)
