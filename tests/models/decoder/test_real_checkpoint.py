"""A published checkpoint against PyTorch, where the environment names its folder.

    QCRD_DECODER_FOLDER=/path/to/SmolLM2-135M-Instruct pytest tests/models/decoder

The folder has config.json, model.safetensors and a tokenizer, of any family that is read here.
"""

import os
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qcrd_jax import sampling
from qcrd_jax.data.tokenizer import load_tokenizer
from qcrd_jax.models import architectures
from qcrd_jax.models.huggingface import load_student, save_student
from tests.support import folders

TEXTS = (
    'Question: Jack has 8 pens and Mary has 3 pens. How many pens do they have together?',
    'The capital of France is a city on the river Seine, and it is called',
    'Write two sentences on why the sky is blue at noon and red in the evening.',
)
LENGTH = 32


@pytest.fixture(scope='module')
def folder():
    folder = pathlib.Path(os.environ.get('QCRD_DECODER_FOLDER', 'unset'))
    if not folder.is_dir():
        pytest.skip('set QCRD_DECODER_FOLDER to the folder of a decoder-only checkpoint')
    return folder


def test_a_published_checkpoint_reads_and_writes_as_pytorch(folder, tmp_path):
    torch = pytest.importorskip('torch')
    import transformers

    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = load_tokenizer(str(folder))
    config, params = load_student(folder)
    student = architectures.student_for(
        config, tokenizer, dropout_rate=0.0, compute_dtype=jnp.float32
    )
    start, eos = student.start_id, student.eos_id
    keys = sampling.sequence_keys(jax.random.key(0), jnp.arange(1), 1)  # only their shape is read
    how = {'max_length': LENGTH, 'temperature': 0.0}
    sample = jax.jit(lambda params, context: sampling.sample(student, params, context, keys, **how))
    for text in TEXTS:
        prompt = tokenizer(text)['input_ids']
        context = student.encode(
            params, jnp.array([[*prompt, eos]]), jnp.ones((1, len(prompt) + 1), bool)
        )
        samples = sample(params, context)
        written = samples.ids[samples.mask].tolist()
        ids = torch.tensor([[*prompt, start]])
        expected = theirs.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=LENGTH,
            do_sample=False,
            eos_token_id=eos,
            pad_token_id=student.pad_id,
        )[0, len(prompt) + 1 :].tolist()
        assert written == expected, (tokenizer.decode(written), tokenizer.decode(expected))

        logits = student.decode(params, context, jnp.array([[expected]]))[0, 0]
        with torch.no_grad():
            read = theirs(torch.tensor([[*prompt, start, *expected[:-1]]])).logits[0, len(prompt) :]
        largest = np.abs(read.numpy()).max()
        # Float32 sums over tens of layers, in another order.
        np.testing.assert_allclose(logits, read.numpy(), atol=1e-5 * largest)

    save_student(tmp_path, student.config, params, tokenizer)
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    for name, tensor in theirs.state_dict().items():
        np.testing.assert_array_equal(again.state_dict()[name], tensor, err_msg=name)
    folders.assert_same(load_student(tmp_path)[1], params)
