"""A runner of OpenAI batch files that takes them as strictly as the real ones do.

run_batch(workdir / 'requests.jsonl', workdir / 'responses.jsonl', dialect='vllm')

A line is read as the types of the `openai` package say, and unknown fields are refused. An answer
is a function of the request, so that a test knows which answer belongs to which question.
"""

import itertools
import json
import uuid
from typing import Any, Literal

import pydantic
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming

_BODY = pydantic.TypeAdapter(CompletionCreateParamsNonStreaming)
_counter = itertools.count()


class Line(pydantic.BaseModel, extra='forbid', strict=True):
    """A line of requests, as OpenAI describes it and vLLM's `BatchRequestInput` has it."""

    custom_id: str = pydantic.Field(min_length=1, max_length=64, pattern='^[ -~]+$')
    method: Literal['POST']
    url: Literal['/v1/chat/completions']
    body: dict[str, Any]


def read_requests(path):
    """Every request of a file, or a complaint about the first that a runner would refuse."""
    data = path.read_bytes()
    assert data.isascii() and data.endswith(b'\n') and len(data) <= 200_000_000
    requests = []
    for line in data.splitlines():
        parsed = Line.model_validate_json(line)
        list(_BODY.validate_python(parsed.body)['messages'])  # which are validated one by one
        unknown = parsed.body.keys() - CompletionCreateParamsNonStreaming.__annotations__.keys()
        assert not unknown - {'chat_template_kwargs', 'top_k'}, unknown
        assert not parsed.body.get('stream')
        requests.append(parsed)
    assert 0 < len(requests) <= 50_000
    ids = [request.custom_id for request in requests]
    assert len(set(ids)) == len(ids)
    assert len({request.body['model'] for request in requests}) == 1
    return requests


def question_of(request):
    return request.body['messages'][-1]['content'].rsplit('Q: ', 1)[-1].removesuffix('\nA:')


def completion(request, dialect='openai', text=None, **choice):
    """The body of a response with status 200; every answer differs from every other."""
    choices = []
    for index in range(request.body.get('n') or 1):
        words = text or f'{question_of(request)} <{next(_counter)}> The answer is ( 1 + {index} ).'
        message = {'role': 'assistant', 'content': words, 'refusal': None}
        if dialect == 'vllm':
            message |= {'function_call': None, 'reasoning': None}
        choices.append({'index': index, 'finish_reason': 'stop', 'message': message, **choice})
    usage = {'prompt_tokens': 100, 'completion_tokens': 7 * len(choices)}
    usage['total_tokens'] = sum(usage.values())
    return {
        'id': f'chatcmpl-{uuid.uuid4()}',
        'object': 'chat.completion',
        'created': 1,
        'model': 'served-model',
        'choices': choices,
        'usage': usage,
    }


def output(request, body=None, *, dialect='openai', status=200, error=None):
    """A line of responses."""
    body = completion(request, dialect) if body is None and status == 200 and not error else body
    response = {'status_code': status, 'request_id': f'req-{uuid.uuid4().hex}', 'body': body}
    if dialect == 'openai' and error is not None:
        response = None
    prefix = 'batch_req_' if dialect == 'openai' else 'vllm-'
    return {
        'id': f'{prefix}{uuid.uuid4().hex}',
        'custom_id': request.custom_id,
        'response': response,
        'error': error,
    }


def write_lines(path, outputs):
    path.write_text(''.join(json.dumps(line) + '\n' for line in outputs), encoding='utf-8')


def run_batch(source, target, dialect='openai', fail=lambda place: False):
    """Answers a file of requests; those whose place `fail` names get an error."""
    outputs = []
    for place, request in enumerate(read_requests(source)):
        if not fail(place):
            outputs.append(output(request, dialect=dialect))
        elif dialect == 'vllm':
            error = {'error': {'message': 'too long', 'type': 'BadRequestError', 'code': 400}}
            outputs.append(output(request, dialect=dialect, status=400, error=error))
        else:
            body = {'error': {'message': 'too long', 'type': 'invalid_request_error'}}
            outputs.append(output(request, body, status=400))
    write_lines(target, outputs)
    return outputs
