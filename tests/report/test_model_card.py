"""The snippet of a decoder-only student's card asks as the student was trained."""

import types

import torch
import transformers

from qcrd_jax.data.schema import SEPARATOR
from qcrd_jax.data.tokenizer import train_tokenizer
from qcrd_jax.report import model_card


def test_a_separator_in_a_question_is_kept_and_only_the_last_eos_is_not(monkeypatch, capsys):
    question = f'premise: A man runs.{SEPARATOR}hypothesis: He moves.'
    tokenizer = train_tokenizer([question], required=('predict: ', 'explain: '))
    assert SEPARATOR.strip() == tokenizer.eos_token
    prompts = []

    def generate(prompt, **_):
        prompts.append(prompt[0].tolist())
        return torch.cat([prompt, torch.tensor([[tokenizer.eos_token_id]])], dim=1)

    student = types.SimpleNamespace(generate=generate)
    for name, loaded in (('AutoTokenizer', tokenizer), ('AutoModelForCausalLM', student)):
        monkeypatch.setattr(getattr(transformers, name), 'from_pretrained', lambda _, it=loaded: it)
    text = model_card._CAUSAL.format(question=question, prefixes=('predict: ',), start=7)
    exec(compile(text, 'README.md', 'exec'), {})
    whole = tokenizer(f'predict: {question}')['input_ids']
    assert whole.count(tokenizer.eos_token_id) == 2
    assert prompts == [[*whole[:-1], 7]]
