"""The snippet of a decoder-only student's card asks as the student was trained."""

import sys
from types import SimpleNamespace

import numpy as np

from qcrd_jax.data.schema import SEPARATOR
from qcrd_jax.data.tokenizer import train_tokenizer
from qcrd_jax.report import model_card


def test_a_separator_in_a_question_is_kept_and_only_the_last_eos_is_not(monkeypatch):
    question = f'premise: A man runs.{SEPARATOR}hypothesis: He moves.'
    tokenizer = train_tokenizer([question], required=('predict: ', 'explain: '))
    assert tokenizer.eos_token == SEPARATOR
    prompts = []

    def generate(prompt, **_):
        prompts.append(prompt[0].tolist())
        return np.append(prompt, [[tokenizer.eos_token_id]], axis=1)

    def loads(loaded):
        return SimpleNamespace(from_pretrained=lambda _: loaded)

    student = SimpleNamespace(generate=generate)
    library = SimpleNamespace(AutoTokenizer=loads(tokenizer), AutoModelForCausalLM=loads(student))
    monkeypatch.setitem(sys.modules, 'transformers', library)
    arrays = SimpleNamespace(tensor=np.array, ones_like=np.ones_like)
    monkeypatch.setitem(sys.modules, 'torch', arrays)
    text = model_card._CAUSAL.format(question=question, prefixes=('predict: ',), start=7)
    exec(compile(text, 'README.md', 'exec'), {})
    monkeypatch.undo()
    whole = tokenizer(f'predict: {question}')['input_ids']
    assert whole.count(tokenizer.eos_token_id) == 2
    assert prompts == [[*whole[:-1], 7]]
