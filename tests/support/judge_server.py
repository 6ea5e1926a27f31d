"""A judge over real HTTP, whose verdict is a function of the two explanations."""

import http.server
import json
import re
import time

from tests.support.local_server import LocalServer

SHOWN = re.compile(r'Explanation A: (.*?)\n\nExplanation B: (.*?)\n\nGive', re.DOTALL)


class JudgeServer(LocalServer):
    """An OpenAI-compatible server whose verdict is a function of the two explanations."""

    def __init__(self, verdict, delay=0.0, finish_reason='stop'):
        self.prompts = []
        self.bodies = []
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = 'HTTP/1.1'
            disable_nagle_algorithm = True

            def do_POST(self):
                asked = json.loads(self.rfile.read(int(self.headers['content-length'])))
                prompt = asked['messages'][-1]['content']
                server.bodies.append(asked)
                server.prompts.append(prompt)
                time.sleep(delay)
                text = verdict(*SHOWN.search(prompt).groups())
                message = text if isinstance(text, dict) else {'content': text}
                choice = {'message': message, 'finish_reason': finish_reason}
                usage = {'prompt_tokens': 10, 'completion_tokens': 5}
                body = json.dumps({'choices': [choice], 'usage': usage}).encode()
                self.send_response(200)
                self.send_header('Content-Type', 'application/json')
                self.send_header('Content-Length', str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.listen(Handler)


def longer(a, b):
    """The verdict of a judge that likes words."""
    winner = 'tie' if len(a) == len(b) else 'A' if len(a) > len(b) else 'B'
    return f'One has more words.\nBetter explanation: {winner}'
