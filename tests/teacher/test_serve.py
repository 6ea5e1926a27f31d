"""A Hugging Face model in a local folder as the teacher, through the server that comes with it."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request

import pytest
import tokenizers
import transformers
from ml_collections import config_dict
from tokenizers import decoders, models, pre_tokenizers, trainers

from qcrd_jax.data.schema import Example
from qcrd_jax.errors import InputError
from qcrd_jax.teacher.annotate import annotate

torch = pytest.importorskip('torch')
for _name in ('fastapi', 'uvicorn', 'accelerate'):
    pytest.importorskip(_name, reason="pip install 'transformers[serving]'")

_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    '<|im_start|>assistant\n'
)


def make_model(folder):
    """Writes a Qwen2 of random weights that writes bytes, with the chat markers of its family."""
    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.train_from_iterator(
        [],
        trainers.BpeTrainer(
            special_tokens=['<|im_start|>', '<|im_end|>'],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token='<|im_end|>', chat_template=_TEMPLATE
    )
    torch.manual_seed(0)
    model = transformers.Qwen2ForCausalLM(
        transformers.Qwen2Config(
            vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32, num_hidden_layers=2,
            num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=512,
            bos_token_id=None, eos_token_id=tokenizer.eos_token_id,
        )
    )  # fmt: skip
    model.generation_config.do_sample = True  # without it the server ignores the temperature
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return tokenizer


@pytest.fixture(scope='module')
def served(tmp_path_factory):
    """The address of a server that serves `./teacher`, and that model's tokenizer."""
    home = tmp_path_factory.mktemp('serve')
    tokenizer = make_model(home / 'teacher')
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    command = ['-m', 'transformers.cli.transformers', 'serve', './teacher', '--port', str(port)]
    with open(home / 'log', 'w') as log:
        process = subprocess.Popen(
            [sys.executable, *command, '--device', 'cpu'],
            cwd=home, env=os.environ | {'HF_HUB_OFFLINE': '1'}, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        while True:
            assert process.poll() is None, (home / 'log').read_text()
            try:
                urllib.request.urlopen(f'http://localhost:{port}/health', timeout=5).close()
                break
            except OSError:
                time.sleep(0.2)
        yield f'http://localhost:{port}/v1', tokenizer
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def config(served, tmp_path, monkeypatch):
    monkeypatch.setenv('NO_PROXY', 'localhost')
    monkeypatch.delenv('OPENAI_API_KEY', raising=False)
    prompt = tmp_path / 'prompt.txt'
    prompt.write_text('Q: {input}\nA:')
    return config_dict.ConfigDict(
        {
            'data': {'name': 'custom', 'answer_type': 'text', 'samples': 3},
            'teacher': {
                'through': 'server', 'choices': 1,
                'base_url': served[0], 'model': './teacher', 'key_variable': 'OPENAI_API_KEY',
                'prompt': str(prompt), 'temperature': 0.7, 'max_tokens': 12, 'splits': ('train',),
                'limit': 0, 'concurrency': 4, 'timeout': 60.0, 'attempts': 3, 'input_price': 0.0,
                'output_price': 0.0, 'budget': 0.0, 'max_tokens_total': 0,
            },
        }
    )  # fmt: skip


def test_a_local_model_answers(served, config, tmp_path):
    questions = [Example(f'q{n}', f'{n}?', 'yes') for n in range(4)]
    annotate(config, {'train': questions}, tmp_path)
    records = [json.loads(line) for line in (tmp_path / 'annotations.jsonl').open()]
    assert len(records) == 12
    assert len({record['text'] for record in records}) == 12  # it samples
    tokenizer = served[1]
    for record in records:
        chat = [{'role': 'user', 'content': f'Q: {record["input"]}\nA:'}]
        prompt = tokenizer.apply_chat_template(chat, tokenize=True)['input_ids']
        assert record['usage']['prompt_tokens'] == len(prompt)
        assert not record['usage']['estimated']
        assert record['usage']['completion_tokens'] <= 12
        cut = record['usage']['completion_tokens'] == 12
        assert (record['finish_reason'] == 'length') == cut
    report = json.loads((tmp_path / 'annotate.json').read_text())
    assert report['tokens']['prompt'] == sum(r['usage']['prompt_tokens'] for r in records)
    assert (report['missing'], report['duplicates'], report['faults']) == (0, 0, {})


def test_a_model_that_it_does_not_serve_is_refused_in_its_words(config, tmp_path):
    config.teacher.model = 'another'
    questions = [Example('q', '?', 'yes')]
    with pytest.raises(InputError, match=r"3 were given up, .* Server is pinned to './teacher'"):
        annotate(config, {'train': questions}, tmp_path)
