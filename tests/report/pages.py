"""A run as training leaves it, and the pages of a report as a browser sees them."""

import base64
import hashlib
import math
import re
from html.parser import HTMLParser
from urllib.parse import unquote

import numpy as np

from qcrd_jax import config as configuration
from qcrd_jax import files
from qcrd_jax.report import write_report
from tests.support import REPOSITORY

FILES = (
    'config.json',
    'metrics.jsonl',
    'summary.json',
    'predictions.jsonl',
    'scores.json',
    'examples.jsonl',
    'case_study.jsonl',
    'prepare.json',
)
SCRIPT = (REPOSITORY / 'qcrd_jax' / 'report' / 'filter.js').read_text(encoding='utf-8')
QUESTION = 'Ava had 84 marbles and shared them among 2 friends. How many did each friend get?'


def write_run(workdir, method='qcrd', steps=600, curves=True):
    """Writes a small run as the training loop would leave it; drawing few curves is faster."""
    rng = np.random.default_rng(0)
    config = configuration.base_config().to_dict()
    config['method'], config['data']['name'], config['train']['steps'] = method, 'mwp', steps
    files.write_json(workdir / 'config.json', config)
    lines = metric_lines(rng, method, steps)
    kept = lines if curves else [line for line in lines if line['phase'] in ('validation', 'test')]
    files.write_jsonl(workdir / 'metrics.jsonl', kept)
    files.write_json(
        workdir / 'summary.json',
        {
            'method': method,
            'dataset': 'mwp',
            'student': 'tiny',
            'seed': 0,
            'steps': steps,
            'best_step': steps - 100,
            'validation_accuracy': 0.845,
            'test_accuracy': 0.8125,
            'seconds_per_step': 0.143,
            'training_hours': 12.61,
            'pretraining_seconds': 75.2,
            'negative_sampling_share': 0.384,
            'padding_share': 0.217,
            'discriminator_auc': 0.9731 if method == 'qcrd' else None,
            'parameters': 1912320,
        },
    )
    predictions = [
        {
            'id': f'mwp-test-{i:04}',
            'input': QUESTION,
            'label': '( 84 / 2 )',
            'prediction': '( 84 / 2 )' if i % 16 else '( 84 * 2 )',
            'rationale': 'Ava shared 84 marbles among 2 friends, so each got 84 / 2 = 42.',
            'correct': bool(i % 16),
            'score': round(0.9 if i % 16 else 0.2, 3),
        }
        | ({} if method == 'finetune' else reading(i))
        for i in range(400)
    ]
    files.write_jsonl(workdir / 'predictions.jsonl', predictions)
    files.write_json(workdir / 'prepare.json', {'train': COUNTS})
    files.write_jsonl(workdir / 'case_study.jsonl', [case(i, method == 'qcrd') for i in range(3)])
    if method != 'qcrd':
        return
    scores = {
        'teacher_positive': rng.beta(14, 1.2, 600).tolist(),
        'teacher_negative': rng.beta(1.2, 7, 250).tolist(),
        'student_t1.5': rng.beta(1.4, 1.6, 400).tolist(),
        'student_t2.0': rng.beta(1, 6, 400).tolist(),
        'auc': 0.9731,
    }
    files.write_json(workdir / 'scores.json', scores)
    files.write_jsonl(workdir / 'examples.jsonl', [example(i) for i in range(6)])


def reading(i):
    """Of every fourth rationale that it is wrong, of every fiftieth that it arrives nowhere."""
    right, drawn = bool(i % 4), bool(i % 2)
    return {
        'rationale_answer': ('42' if right else '41') if i % 50 else None,
        'rationale_correct': right,
        'rationale_agrees': right or i % 16 == 0,
        'rationale_tokens': 20 + i % 3,
        'rationale_ended': True,
        'rationale_t0.7': f'84 / 2 = {42 if drawn else 40}.',
        'rationale_t0.7_answer': '42' if drawn else '40',
        'rationale_t0.7_correct': drawn,
        'rationale_t0.7_agrees': drawn,
        'rationale_t0.7_tokens': 30,
        'rationale_t0.7_ended': drawn,
    }


def metric_lines(rng, method, steps):
    """Curves with the shapes of a real run: falling losses, parting scores, rising accuracy."""
    lines = []
    for step in range(10, 201, 10) if method == 'qcrd' else ():
        lines.append(
            {
                'phase': 'discriminator',
                'step': step,
                'loss': 0.7 * math.exp(-step / 70) + 0.02 * rng.random(),
                'accuracy': 1 - 0.5 * math.exp(-step / 60),
                'positive_score': 1 - 0.5 * math.exp(-step / 60),
                'negative_score': 0.5 * math.exp(-step / 80),
                'learning_rate': 1e-4 * (1 - step / 200),
            }
        )
    for step in range(5, steps + 1, 5):
        fall = math.exp(-step / (0.25 * steps))
        line = {
            'phase': 'train',
            'step': step,
            'loss': 3.1 * fall + 0.2 + 0.12 * rng.normal() * fall,
            'prediction_loss': 2.8 * fall + 0.1 + 0.1 * rng.random(),
            'gradient_norm': float(np.exp(rng.normal() * 0.3)) * (30 * fall + 0.4),
            'learning_rate': 1e-3 * (1 - step / steps),
            'nonfinite': 0.0,
            'seconds_per_step': 0.143 + 0.01 * rng.random(),
        }
        if method == 'qcrd':
            line |= {
                'contrastive_loss': 3 * fall + 0.3 + 0.15 * rng.normal() * fall,
                'positive_loss': 3.2 * fall + 0.3 + 0.05 * rng.random(),
                'negative_loss': 3.4 * fall
                + 1.3 * (1 - fall) * (1 + step / steps)
                + rng.random() / 9,
                'negative_length': 24 + 8 * fall + rng.random(),
                'negative_active': 0.9 * fall + 0.05 * rng.random(),
                'positive_score': 0.93 + 0.03 * rng.random(),
                'negative_score': 0.1 + 0.4 * fall + 0.05 * rng.random(),
                'discriminator_loss': -0.9 + 0.05 * rng.normal() if step % 50 == 0 else None,
            }
        else:
            line['explanation_loss'] = 3.2 * fall + 0.3
        lines.append(line)
        if step % 100 == 0:
            correct = round(200 * 0.87 * (1 - math.exp(-step / 200)))
            validation = {'accuracy': correct / 200, 'correct': correct, 'total': 200}
            best = step == steps - 100
            lines.append({'phase': 'validation', 'step': step, 'best': best, **validation})
    test = {'accuracy': 0.8125, 'correct': 325, 'total': 400}
    return [*lines, {'phase': 'test', 'step': steps - 100, **test}]


def example(index):
    kinds = [
        ('teacher positive', None, 'Ava shared 84 marbles among 2 friends. 84 / 2 = 42.', 0.96),
        ('teacher positive', None, 'Each friend got 84 divided by 2, which is 42 marbles.', 0.91),
        ('teacher negative', None, 'Ava had 84 marbles and 2 friends. 84 - 2 = 82.', 0.07),
        ('student sample', 1.5, 'Ava had 84 marbles for 2 friends, so 84 / 2 = 41.', 0.48),
        ('student sample', 2.0, 'Friends 2 the marbles among 84 84 * 2 got = 9.', 0.02),
    ]
    keys = ('kind', 'temperature', 'text', 'score')
    rationales = [dict(zip(keys, kind, strict=True)) for kind in kinds]
    return {
        'id': f'mwp-test-{index:04}',
        'input': QUESTION,
        'label': '( 84 / 2 )',
        'rationales': rationales,
    }


COUNTS = {
    'questions': 2000,
    'samples': 10_000,
    'unreadable': 40,
    'right_per_question': 3.914,
    'sample_accuracy': 0.7828,
    'vote_accuracy': 0.9345,
    'only_positive': 0.371,
    'only_negative': 0.0125,
    'truncated': 0,
}


def case(index, scored):
    texts = [
        (0.0, 'Ava shared 84 marbles among 2 friends. 84 / 2 = 42.', 0.96),
        (0.7, 'Ava shared 84 marbles among 2 friends. 84 / 2 = 41.', 0.81),
        (1.5, 'Ava had 86 marbles for 2 friends, so 86 / 2 = 43.', 0.48),
        (2.0, 'Friends 2 the marbles among 84 84 * 2 got = 9.', 0.02),
    ]
    return {
        'id': f'mwp-test-{index:04}',
        'input': QUESTION,
        'label': '( 84 / 2 )',
        'answer_type': 'equation',
        'teacher': 'Each of 2 friends got 84 / 2 = 42 marbles.',
        'rationales': [
            {'temperature': temperature, 'text': text, 'score': score if scored else None}
            for temperature, text, score in texts
        ],
    }


class Elements(HTMLParser):
    """Collects the elements, attributes and visible text of a page; all elements must close."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.text, self.open = [], [], '', []
        self.scripts = []
        self.feed(text)
        self.close()
        assert self.open == []
        self.text = re.sub(r'\s+', ' ', self.text)

    def handle_starttag(self, tag, attributes):
        self.text += ' '
        self.tags.append(tag)
        self.attributes += [(tag, *attribute) for attribute in attributes]
        if tag not in ('meta', 'img', 'br', 'link', 'input'):
            self.open.append(tag)
        if tag == 'script':
            self.scripts.append('')

    def handle_endtag(self, tag):
        self.text += ' '
        assert self.open.pop() == tag, f'</{tag}> closes nothing'

    def handle_data(self, data):
        if 'script' in self.open:
            self.scripts[-1] += data
        if not {'style', 'script', 'title'} & set(self.open):
            self.text += data

    def values(self, attribute):
        """The values of an attribute, in the order of the page."""
        return [value for _, name, value in self.attributes if name == attribute]


def parsed(path):
    """The page, checked for what every page keeps: no script but ours, no network, no dead link.

    The policy lets a browser run that script and no other, and load nothing.
    """
    elements = Elements(path.read_text(encoding='utf-8'))
    assert not {'link', 'iframe', 'object', 'form', 'svg'} & set(elements.tags)
    (policy,) = [value for tag, name, value in elements.attributes
                 if tag == 'meta' and name == 'content' and 'default-src' in value]  # fmt: skip
    expected = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    if elements.scripts:
        assert elements.scripts == [SCRIPT]
        digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
        expected += f"; script-src 'sha256-{digest}'"
    assert policy == expected
    assert not [tag for tag, name, _ in elements.attributes if tag == 'script']
    assert not [name for _, name, _ in elements.attributes if name.startswith('on')]
    for source in elements.values('src'):
        assert source.startswith('data:image/svg+xml;base64,')
    for link in elements.values('href'):
        if link.startswith('#'):
            assert link[1:] in elements.values('id')
        else:
            assert (path.parent / unquote(link)).is_file()
    return elements


def rendered(workdir):
    """The parsed page of a run, which needs no file beside it."""
    path = write_report(workdir)
    assert path == workdir / 'report' / 'index.html'
    elements = parsed(path)
    assert all(link.startswith('#') for link in elements.values('href'))
    return elements


def figure_names(workdir):
    """The figures beside the page."""
    return {path.stem for path in (workdir / 'report').glob('*.png')}
