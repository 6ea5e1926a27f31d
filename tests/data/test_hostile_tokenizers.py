"""Tokenizers that somebody made to be read badly: one line each, at once, and in little memory."""

import json
import shutil
import subprocess
import sys

import pytest
import transformers

from qcrd_jax.data import tokenizer_files
from qcrd_jax.data.tokenizer import load_tokenizer, train_tokenizer
from qcrd_jax.errors import InputError
from tests.support import hostile

WORDS = [f'w{a}{b} says {b}{a}.' for a in 'abcdefgh' for b in 'ijklmnop']
MODEL = 'spiece.model'
SENTENCEPIECE: list[hostile.Case] = [
    ('a pipe', MODEL, hostile.pipe(MODEL)),
    ('empty', MODEL, hostile.text(MODEL, '')),
    ('junk', MODEL, hostile.text(MODEL, bytes(range(256)) * 100)),
    ('sparse', MODEL, hostile.sparse(MODEL, 10 << 30)),
    ('no pieces', MODEL, hostile.text(MODEL, b'\x12\x00')),
    # A piece of 2**31 - 1 bytes that is not there; one of NaN; groups within each other.
    ('a long piece', MODEL, hostile.text(MODEL, b'\x0a\xff\xff\xff\xff\x07')),
    ('NaN', MODEL, hostile.text(MODEL, b'\x0a\x08\x0a\x01a\x15\x00\x00\xc0\x7f')),
    ('nested', MODEL, hostile.text(MODEL, b'\x0b' * 100_000)),
]


@pytest.fixture(scope='module')
def good(tmp_path_factory):
    folder = tmp_path_factory.mktemp('good') / 'tokenizer'
    train_tokenizer(WORDS, 120).save_pretrained(folder)
    (folder / 'config.json').write_text('{"model_type": "t5"}')
    return folder


def message_of(folder):
    with pytest.raises(InputError) as error:
        load_tokenizer(str(folder))
    message = str(error.value)
    assert message.isprintable() and len(message) < 1500, message[:3000]
    return message


@pytest.mark.parametrize('case', hostile.TOKENIZERS, ids=lambda case: case[0])
def test_a_hostile_tokenizer_is_one_line_that_names_the_file(good, tmp_path, capfd, case):
    hostile.apply(case, good, tmp_path / 'case')
    message = message_of(tmp_path / 'case')
    assert case[1] in message and str(tmp_path / 'case') in message
    assert not (tmp_path / 'case' / 'ran').exists()
    assert 'panicked' not in capfd.readouterr().err


@pytest.mark.parametrize('case', SENTENCEPIECE, ids=lambda case: case[0])
def test_a_hostile_sentencepiece_model_is_one_line_that_names_the_file(tmp_path, case):
    (tmp_path / 'spiece.model').touch()
    case[2](tmp_path)
    assert case[1] in message_of(tmp_path)


@pytest.mark.parametrize('sizes', [{'num_hidden_layers': 10**9}, {'vocab_size': 10**15}])
@pytest.mark.parametrize('model_type', ['qwen2', 'qwen3', 'llama', 'mistral', 't5', 'mamba'])
def test_the_sizes_of_a_model_are_not_read_with_its_tokenizer(good, tmp_path, model_type, sizes):
    """transformers would make a list with an entry for every layer."""
    shutil.copytree(good, tmp_path / 'case')
    hostile.fields('config.json', model_type=model_type, **sizes)(tmp_path / 'case')
    assert load_tokenizer(str(tmp_path / 'case')).eos_token == '</s>'


def test_code_of_a_folder_is_not_run_whatever_stdin_says(good, tmp_path):
    """Where the tokenizer can be read without it, it is; nobody is asked."""
    for folder in (tmp_path / 'needed', tmp_path / 'not needed'):
        shutil.copytree(good, folder)
        hostile.code(folder)
    hostile.fields('tokenizer_config.json', tokenizer_class='PreTrainedTokenizerFast')(folder)
    program = (
        'import sys\nfrom qcrd_jax.data.tokenizer import load_tokenizer\n'
        'from qcrd_jax.errors import InputError\n'
        'try:\n    load_tokenizer(sys.argv[1])\n    print(1)\n'
        'except InputError as error:\n    print(error, file=sys.stderr)\n'
        'print(load_tokenizer(sys.argv[2])("wai says")["input_ids"])'
    )
    done = subprocess.run(
        [sys.executable, '-c', program, tmp_path / 'needed', folder],
        input='y\n' * 100, capture_output=True, text=True, check=True, timeout=300,
    )  # fmt: skip
    assert (
        "own, 'strange.Strange', which is never run, and no tokenizer could be read" in done.stderr
    )
    assert json.loads(done.stdout) == load_tokenizer(str(good))('wai says')['input_ids']
    assert "code of its own, 'strange.Strange'; it is not run" in done.stderr
    assert not [*tmp_path.rglob('ran')]


def test_a_tokenizer_is_what_it_was(good):
    """What is looked at beforehand changes nothing."""
    ours, theirs = load_tokenizer(str(good)), transformers.AutoTokenizer.from_pretrained(good)
    assert type(ours) is type(theirs)
    assert ours.backend_tokenizer.to_str() == theirs.backend_tokenizer.to_str()


def test_a_library_that_does_not_come_back_is_given_up(good, monkeypatch):
    monkeypatch.setattr(tokenizer_files, '_TRIAL_SECONDS', 0.0)
    assert 'tokenizer.json: cannot be read (reading it takes more than 0 s)' in message_of(good)


def test_what_hostile_tokenizers_cost(good, tmp_path):
    command = [sys.executable, '-m', 'tests.support.hostile', 'tokenizers', str(good)]
    done = subprocess.run(
        [*command, str(tmp_path)], capture_output=True, text=True, check=True, timeout=300
    )
    cost = json.loads(done.stdout)
    assert cost['bytes'] < 200e6, cost
    assert cost['seconds'] < 20, cost
