"""The table of datasets: all that is known of each by its name. A new dataset is a new entry.

Everything that asks for a dataset by its name reads this table: the configuration's choices, the
builders, the downloads, the prompts for a teacher and a judge, and the report. An entry that needs
its own way of reading brings a function for it (see `questions`, `originals` and `mwp`); one in the
layout of Distilling step-by-step (DSS), with records of a known kind, brings nothing.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from qcrd_jax.data.schema import NLI_CLASSES, AnswerType, SourceSplits
from qcrd_jax.data.sources import mwp, originals, questions
from qcrd_jax.data.sources.questions import Question
from qcrd_jax.data.sources.remotes import Download, Remote

TASKS: dict[AnswerType, str] = {
    'equation': 'math word problem',
    'choice': 'multiple-choice question answering',
    'class': 'classification',
    'text': 'question answering',
}
"""What kind of questions these are, where an entry has no words of its own."""


@dataclasses.dataclass(frozen=True)
class Generator:
    """What makes a synthetic dataset.

    Attributes:
      settings: made of the fields of the configuration's group `data.<name>`, and of the number of
        `samples`; its `repr` decides which dataset it is.
      generate: returns the splits of these settings.
    """

    settings: Callable[..., Any]
    generate: Callable[[Any], SourceSplits]


@dataclasses.dataclass(frozen=True)
class DatasetEntry:
    """One dataset.

    Attributes:
      description: what it is, in a sentence.
      answer_type: how its answers are compared; None: the configuration says so.
      question: reads a record of the DSS layout; None: the dataset is a file of JSON lines, or
        generated.
      classes: of answer type 'class'.
      download: what can be downloaded of it, if anything.
      generator: of a synthetic dataset.
      task: what kind of questions these are, for a judge; '': as its answer type has it in `TASKS`.
      prompt: the file of the few-shot prompt in `teacher/prompts`; '': that of its answer type.
      note: what the report says of it.
      paper_samples: right samples per question (of 5), and the shares of questions with only right
        and with only wrong ones, as the paper has them (Table A2).
    """

    description: str
    answer_type: AnswerType | None = None
    question: Callable[[Mapping[str, Any]], Question] | None = None
    classes: tuple[str, ...] = NLI_CLASSES
    download: Download | None = None
    generator: Generator | None = None
    task: str = ''
    prompt: str = ''
    note: str = ''
    paper_samples: tuple[float, float, float] | None = None


def task(name: str, answer_type: AnswerType) -> str:
    """Returns what kind of questions a dataset holds, in the words of a prompt.

    Args:
      name: of the dataset.
      answer_type: of a dataset whose entry has none.

    Examples:
      >>> task('svamp', 'text'), task('anli1', 'text'), task('custom', 'class')
      ('math word problem', 'natural language inference', 'classification')
    """
    entry = DATASETS[name]
    return entry.task or TASKS[entry.answer_type or answer_type]


_GITHUB = 'https://raw.githubusercontent.com'
_COSE = f'{_GITHUB}/salesforce/cos-e/master/data/v1.11'
_COMMONSENSE = 'https://s3.amazonaws.com/commensenseqa'
_ESNLI = f'{_GITHUB}/OanaMariaCamburu/e-SNLI/master/dataset'

DATASETS: dict[str, DatasetEntry] = {
    'svamp': DatasetEntry(
        'SVAMP (Patel et al., 2021): arithmetic word problems; answers are equations.',
        answer_type='equation',
        question=questions.plain,
        download=Download(
            sizes={'train': 800, 'test': 200},
            archived=True,
            files=(
                Remote(
                    f'{_GITHUB}/arkilpatel/SVAMP/main/SVAMP.json',
                    '5be77703a6d891ae476d7c082787ad361392aa02453b132516cdd5f4e7934e3e',
                ),
            ),
            read=originals.svamp,
        ),
        prompt='svamp',
        paper_samples=(3.87, 0.55, 0.08),
    ),
    'cqa': DatasetEntry(
        'CommonsenseQA 1.11 (Talmor et al., 2018): questions with five choices.',
        answer_type='choice',
        question=questions.multiple_choice,
        download=Download(
            sizes={'train': 9741, 'test': 1221},
            archived=True,
            files=(
                Remote(
                    f'{_COMMONSENSE}/train_rand_split.jsonl',
                    '58ffa3c8472410e24b8c43f423d89c8a003d8284698a6ed7874355dedd09a2fb',
                ),
                Remote(
                    f'{_COMMONSENSE}/dev_rand_split.jsonl',
                    '3210497fdaae614ac085d9eb873dd7f4d49b6f965a93adadc803e1229fd8a02a',
                ),
                Remote(
                    f'{_COSE}/train/cose_train_v1.11_processed.jsonl',
                    '4c0ccfd34243cf7af62b441643437769663edcb980b991487f766b97a547e9bd',
                ),
                Remote(
                    f'{_COSE}/dev/cose_dev_v1.11_processed.jsonl',
                    'a8367c94901ba249e48bcec76eaff9e7b91cec0f0e4d94879975d7d1b952bc41',
                ),
            ),
            read=originals.cqa,
        ),
        task='commonsense question answering',
        prompt='cqa',
        paper_samples=(3.89, 0.68, 0.13),
    ),
    'anli1': DatasetEntry(
        'Round 1 of Adversarial NLI (Nie et al., 2019).',
        answer_type='class',
        question=questions.inference,
        download=Download(
            sizes={'train': 16946, 'valid': 1000, 'test': 1000},
            archived=True,
            files=(
                Remote(
                    'https://dl.fbaipublicfiles.com/anli/anli_v0.1.zip',
                    '16ac929a7e90ecf9093deaec89cc81fe86a379265a5320a150028efe50c5cde8',
                ),
            ),
            read=originals.anli1,
        ),
        task='natural language inference',
        prompt='anli1',
        paper_samples=(3.93, 0.66, 0.11),
    ),
    'esnli': DatasetEntry(
        'e-SNLI (Camburu et al., 2018): SNLI as it was explained.',
        answer_type='class',
        question=questions.inference,
        download=Download(
            sizes={'train': 549367, 'valid': 9842, 'test': 9824},
            archived=True,
            files=(
                Remote(
                    f'{_ESNLI}/esnli_train_1.csv',
                    '7311c7bc16ad9f6a9adcd116a62ef991e1803dc0d71e253ce66b975c2aba8ee5',
                ),
                Remote(
                    f'{_ESNLI}/esnli_train_2.csv',
                    'c8827fa2ba1ef5891f077d6fafbfc2fdb6cab1271968b74257e08d3b2b3cbacc',
                ),
                Remote(
                    f'{_ESNLI}/esnli_dev.csv',
                    'd7a656d196eea18fd827d6f5486b00f5d4cf469dbf13a252cc211495a186bcb4',
                ),
                Remote(
                    f'{_ESNLI}/esnli_test.csv',
                    '9269aa8075dbfed0fa8a5012eb2ac9c18a92be139671f05df897f69092592927',
                ),
            ),
            read=originals.esnli,
        ),
        task='natural language inference',
        prompt='esnli',
        paper_samples=(3.31, 0.50, 0.20),
    ),
    'mwp': DatasetEntry(
        'Synthetic word problems in the manner of SVAMP, with the answers of a noisy teacher.',
        answer_type='equation',
        generator=Generator(mwp.Settings, mwp.generate),
        note='synthetic word problems with a synthetic noisy teacher',
    ),
    'custom': DatasetEntry(
        "Questions of one's own, from JSON lines (docs/datasets.md).",
    ),
}
"""The datasets by name, as `data.name` calls them."""
