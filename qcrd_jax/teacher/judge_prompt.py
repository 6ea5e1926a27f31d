"""What a judge is asked: the prompt, and a pair of rationales in its places."""

import pathlib
import re

from qcrd_jax.data.schema import SEPARATOR
from qcrd_jax.errors import InputError
from qcrd_jax.teacher.judge_pairs import Pair, RunName

_PROMPT = pathlib.Path(__file__).parent / 'prompts' / 'judge.txt'
_PLACEHOLDER = re.compile(r'\{(task|question|answer|explanation_a|explanation_b)\}')


def read_prompt(path: str) -> str:
    """Returns the text of a prompt.

    Args:
      path: of the file; '': the paper's (Table A4).

    Raises:
      InputError: if the file cannot be read, or has no place for what is compared.
    """
    file = pathlib.Path(path) if path else _PROMPT
    try:
        text = file.read_text(encoding='utf-8').strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f'--config.judge.prompt: {file} cannot be read ({error}); expected a UTF-8 text file.'
        ) from error
    absent = {'question', 'explanation_a', 'explanation_b'} - set(_PLACEHOLDER.findall(text))
    if absent:
        raise InputError(
            f'--config.judge.prompt: {file} has no place for {", ".join(sorted(absent))}; expected '
            '{question}, {explanation_a} and {explanation_b} in it, {task} and {answer} if wanted.'
        )
    return text


def fill(prompt: str, task: str, pair: Pair, first: RunName) -> str:
    """Returns the prompt with the pair in its places; what is put there is not searched for more.

    Args:
      prompt: a text with placeholders.
      task: what kind of questions these are.
      pair: of rationales.
      first: the run whose rationale is shown as Explanation A.
    """
    premise, separator, hypothesis = pair.input.partition(SEPARATOR)
    shown = (pair.rationale_a, pair.rationale_b)
    values = {
        'task': task,
        'question': f'Premise: {premise}\nHypothesis: {hypothesis}' if separator else pair.input,
        'answer': pair.label,
        'explanation_a': shown[first == 'B'],
        'explanation_b': shown[first == 'A'],
    }
    return _PLACEHOLDER.sub(lambda match: values[match[1]], prompt)
