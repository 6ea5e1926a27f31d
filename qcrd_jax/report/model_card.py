"""The README.md of an exported student, which the Hugging Face Hub shows as its model card."""

import pathlib
import re
from typing import Any

from qcrd_jax import __version__, files, sums
from qcrd_jax.data.sources.table import DATASETS
from qcrd_jax.errors import InputError
from qcrd_jax.evaluation import task as tasks
from qcrd_jax.evaluation.task import Task
from qcrd_jax.methods.table import METHODS

_LICENCE = re.compile(r'\A---\n(?:.*\n)*?license:[ \t]*([\w.-]+)')
_MOST_BYTES = 1 << 20  # of a README.md that is looked into
_SEQ2SEQ = """\
import transformers

name = '.'  # this folder, or the id of its repository
tokenizer = transformers.AutoTokenizer.from_pretrained(name)
model = transformers.AutoModelForSeq2SeqLM.from_pretrained(name)

question = {question!r}
for prefix in {prefixes!r}:
    inputs = tokenizer(prefix + question, return_tensors='pt')
    print(tokenizer.decode(model.generate(**inputs)[0], skip_special_tokens=True))
"""
_CAUSAL = """\
import torch
import transformers

name = '.'  # this folder, or the id of its repository
tokenizer = transformers.AutoTokenizer.from_pretrained(name)
model = transformers.AutoModelForCausalLM.from_pretrained(name)

question = {question!r}
for prefix in {prefixes!r}:
    ids = tokenizer(prefix + question)['input_ids']
    ids = ids[:-1] if ids and ids[-1] == tokenizer.eos_token_id else ids
    prompt = torch.tensor([[*ids, {start}]])  # the token after which an answer starts
    written = model.generate(prompt, attention_mask=torch.ones_like(prompt), do_sample=False)
    print(tokenizer.decode(written[0, prompt.shape[1]:], skip_special_tokens=True))
"""
_OURS = """\
from qcrd_jax.pipeline import Pipeline

label, rationale = Pipeline.load('.')({question!r})
"""


def write_model_card(workdir: pathlib.Path) -> pathlib.Path:
    """Writes the card of the student in `<workdir>/hf`, of what the run's files say.

    Args:
      workdir: of a run whose student was exported; its scores are in the card once it has ended.

    Returns:
      path of the card.

    Raises:
      InputError: if the student was not exported, or config.json cannot be read.
    """
    folder = workdir / 'hf'
    task, architecture = tasks.read(folder), files.read_json(folder / 'config.json')
    config, summary = files.read_json(workdir / 'config.json'), _summary(workdir)
    question = _question(workdir)
    text = '\n'.join(
        [
            _front_matter(config, summary, task, architecture),
            _what_it_is(config, task),
            _how_to_ask(task, architecture, question),
            _scores(config, summary),
            _licence(config),
        ]
    )
    files.write_text(folder / 'README.md', text)
    sums.update(folder, ['README.md'])
    return folder / 'README.md'


def _summary(workdir: pathlib.Path) -> dict[str, Any]:
    try:
        return files.read_json(workdir / 'summary.json')
    except InputError:
        return {}


def _question(workdir: pathlib.Path) -> str:
    """The first test question, as an example; a line of our own where there is none."""
    path = workdir / 'predictions.jsonl'
    if path.is_file():
        for _, record in files.read_jsonl(path):
            if isinstance(text := record.get('input'), str) and '`' not in text:
                return text
    return 'Tom has 3 apples and buys 4 more. How many apples does he have?'


def _front_matter(
    config: dict[str, Any], summary: dict[str, Any], task: Task, architecture: dict[str, Any]
) -> str:
    """The metadata that the Hub reads; only words of ours, and names that it would accept."""
    kind = 'text2text-generation' if _is_seq2seq(architecture) else 'text-generation'
    lines = [
        'library_name: transformers',
        f'pipeline_tag: {kind}',
        f'license: {_licence_of_weights(config) or "unknown"}',
        'tags: [qcrd, distillation, rationales, qcrd_jax]',
    ]
    name = config.get('student', {}).get('pretrained', '')
    if re.fullmatch(r'[\w.-]+(/[\w.-]+)?', name):  # an id of the Hub, and no folder
        lines.append(f'base_model: {name}')
    if summary:
        lines += [
            'model-index:',
            f'- name: {task.method} on {task.dataset}',
            '  results:',
            f'  - task: {{type: {kind}}}',
            f'    dataset: {{name: {task.dataset}, type: {task.dataset}, split: test}}',
            f'    metrics: [{{type: accuracy, value: {summary["test_accuracy"]:.4f}}}]',
        ]
    return '\n'.join(['---', *lines, '---', ''])


def _what_it_is(config: dict[str, Any], task: Task) -> str:
    method, dataset = METHODS[task.method].title, DATASETS[task.dataset].description
    start = _weights(config)
    learned = (
        'It learned two tasks: the label and, in its own words, the reasoning of a larger model.'
        if task.explains
        else 'It learned the label alone.'
    )
    return f"""# A student distilled by {method}

{learned}
Method: {method} (qcrd_jax {__version__}; QCRD is EMNLP 2025, 2025.emnlp-main.724).
Data: {task.dataset}, {dataset} It began from {start}.

| task | prefix | tokens at most |
|---|---|---|
| label | `{task.prefixes[0]}` | {task.label_length} |
| rationale | `{task.prefixes[1]}` | {task.rationale_length} |

A question, with its prefix, may have {task.source_length} tokens.
"""


def _weights(config: dict[str, Any]) -> str:
    name = config.get('student', {}).get('pretrained', '')
    return f'the weights `{pathlib.PurePath(name).name or name}`' if name else 'random weights'


def _is_seq2seq(architecture: dict[str, Any]) -> bool:
    return bool(architecture.get('is_encoder_decoder'))


def _how_to_ask(task: Task, architecture: dict[str, Any], question: str) -> str:
    snippet = _SEQ2SEQ if _is_seq2seq(architecture) else _CAUSAL
    prefixes = task.prefixes if not task.joint and task.explains else task.prefixes[:1]
    start = architecture.get('answer_start_token_id')
    code = snippet.format(question=question, prefixes=prefixes, start=start)
    return f"""## How to ask it

```python
{code}```

or, in JAX:

```python
{_OURS.format(question=question)}```
"""


def _scores(config: dict[str, Any], summary: dict[str, Any]) -> str:
    if not summary:
        return '## Scores\n\nThe run has not ended, and the student was not tested.\n'
    rows = [
        ('labels', summary['test_accuracy'], summary['test_interval']),
        ('greedy rationales', summary.get('rationale_accuracy'), summary.get('rationale_interval')),
    ]
    lines = [
        f'| {name} | {value:.4f} | {interval[0]:.4f} to {interval[1]:.4f} |'
        for name, value, interval in rows
        if value is not None and interval
    ]
    steps, batch = summary['steps'], config.get('train', {}).get('batch_size')
    return '\n'.join(
        [
            '## Scores',
            '',
            f'Share of right answers to {summary["test_questions"]} test questions, with a 95 % '
            'interval (Wilson).',
            '',
            '|  | right | 95 % interval |',
            '|---|---|---|',
            *lines,
            '',
            f'{steps} steps of {batch} questions, seed {summary["seed"]}; step '
            f'{summary["best_step"]} was chosen on validation.',
            '',
        ]
    )


def _licence(config: dict[str, Any]) -> str:
    licence = _licence_of_weights(config)
    known = f'its starting weights have `{licence}`' if licence else 'it was not stated'
    return f"""## Licence

{known[0].upper()}{known[1:]}. What may be done with a student also follows from its data and from
the terms of the teacher whose answers it learned from: write it here before you publish.
"""


def _licence_of_weights(config: dict[str, Any]) -> str | None:
    """What the card beside the starting weights names; None where there is none."""
    name = config.get('student', {}).get('pretrained', '')
    path = pathlib.Path(name) / 'README.md'
    if not name or not path.is_file() or path.stat().st_size > _MOST_BYTES:
        return None
    found = _LICENCE.match(path.read_text(errors='replace'))
    return found[1] if found else None
