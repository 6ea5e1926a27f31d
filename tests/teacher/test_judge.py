"""The judge over real HTTP: Table 7 by hand, position bias, exactly once, and what is refused."""

import collections
import hashlib
import json
import math
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import pytest
from ml_collections import config_dict

from qcrd_jax import sums
from qcrd_jax.errors import InputError
from qcrd_jax.evaluation.significance import sign_test
from qcrd_jax.teacher import judge as judging
from qcrd_jax.teacher.judge import judge
from qcrd_jax.teacher.judge_pairs import Pair, draw_pairs
from qcrd_jax.teacher.judge_prompt import fill
from qcrd_jax.teacher.judge_verdicts import Triple, count, read_verdict
from tests.support.fault_server import FaultServer, shuffled
from tests.support.judge_server import JudgeServer, longer

SETTINGS = {
    'data': {'name': 'svamp', 'answer_type': 'equation'},
    'judge': {
        'runs': ('', ''), 'questions': 50, 'seed': 0, 'rationales': 'rationale', 'prompt': '',
        'temperature': 0.0, 'max_tokens': 60,
    },
    'teacher': {
        'base_url': '', 'model': 'a-model', 'key_variable': 'TEACHER_KEY', 'prompt': '',
        'temperature': 0.7, 'max_tokens': 512, 'concurrency': 4, 'timeout': 30.0, 'attempts': 6,
        'input_price': 0.0, 'output_price': 0.0, 'budget': 0.0, 'max_tokens_total': 0,
    },
}  # fmt: skip
SECRET = 'sk-secret-0123456789'
PROMPT = (pathlib.Path(judging.__file__).parent / 'prompts' / 'judge.txt').read_text().strip()


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    monkeypatch.setenv('TEACHER_KEY', SECRET)
    monkeypatch.setenv('NO_PROXY', '127.0.0.1')


def predictions(folder, rationales, field='rationale', **changes):
    folder.mkdir(exist_ok=True)
    lines = [
        {'id': f'q{n}', 'input': f'Question {n}?', 'label': f'( {n} + 1 )', 'prediction': '1',
         'correct': True, field: text} | changes
        for n, text in enumerate(rationales)
    ]  # fmt: skip
    text = ''.join(json.dumps(line) + '\n' for line in lines)
    (folder / 'predictions.jsonl').write_text(text, encoding='utf-8')
    return folder


def settings(server, a, b, **fields):
    config = config_dict.ConfigDict(SETTINGS)
    config.teacher.base_url = server if isinstance(server, str) else server.url
    config.judge.runs = (str(a), str(b))
    config.judge.update(fields)
    return config


def records(workdir):
    lines = (workdir / 'judgements.jsonl').read_text(encoding='utf-8').splitlines()
    return [json.loads(line) for line in lines]


def report(workdir):
    return json.loads((workdir / 'judge.json').read_text())


class TestJudge:
    def test_the_longer_wins_in_both_orders(self, tmp_path, capsys):
        # A is longer in q0, q1, q2, B in q3; q4 has equal lengths, q5 equal texts.
        a = predictions(tmp_path / 'a', ['aaa', 'aaaa', 'aa', 'a', 'aa', 'same text'])
        b = predictions(tmp_path / 'b', ['b', 'b', 'b', 'bb', 'bb', 'same  text\n'])
        with JudgeServer(longer) as server:
            triple = judge(settings(server, a, b), tmp_path / 'out')
            assert triple == Triple(3, 2, 1)
            assert len(server.prompts) == 10  # q5 is not asked
        found = report(tmp_path / 'out')
        assert [found[name]['count'] for name in ('a_better', 'both_good', 'b_better')] == [3, 2, 1]
        assert found['questions'] == 6
        assert found['identical'] == 1
        assert found['p_value'] == pytest.approx(2 * (1 + 4) / 16)  # at most 1 of 4 heads
        # Wilson's interval of 3 of 6, by hand: centre 1/2, half z / (6 + z^2) sqrt(1.5 + z^2 / 4).
        z = 1.959963984540054
        half = z / (6 + z * z) * math.sqrt(6 * 0.25 + z * z / 4)
        assert found['a_better']['interval'] == pytest.approx([0.5 - half, 0.5 + half])
        assert found['first_preferred']['count'] == 4
        assert found['first_preferred']['of'] == 8
        assert found['verdicts'] == 10
        assert found['ties'] == 2
        assert found['unreadable'] == 0
        assert found['tokens'] == {'prompt': 100, 'completion': 50, 'estimated': 0}
        printed = capsys.readouterr().out
        assert 'A better / both good / B better: 3 / 2 / 1 of 6 questions' in printed
        assert 'p = 0.625' in printed

    def test_a_judge_that_likes_the_first_finds_both_good(self, tmp_path):
        a = predictions(tmp_path / 'a', ['a'] * 7)
        b = predictions(tmp_path / 'b', ['b'] * 7)
        with JudgeServer(lambda *_: 'Better explanation: A') as server:
            assert judge(settings(server, a, b), tmp_path / 'out') == Triple(0, 7, 0)
        first = report(tmp_path / 'out')['first_preferred']
        assert (first['count'], first['of']) == (14, 14)
        assert report(tmp_path / 'out')['p_value'] == 1.0

    def test_what_is_asked(self, tmp_path):
        a = predictions(tmp_path / 'a', ['one {question} %s {0}'])
        b = predictions(tmp_path / 'b', ['two'])
        with JudgeServer(longer) as server:
            judge(settings(server, a, b, temperature=0.25), tmp_path / 'out')
        swapped, in_order = sorted(server.prompts, key=lambda p: 'Explanation A: one' in p)
        for prompt in (in_order, swapped):
            assert prompt.startswith(
                'There is an input pair of a question and an answer of a math word problem task, '
                'and we provide you two explanations. You need judge which explanation is better. '
                'The better explanation should be more accurate and explain the answer better.\n\n'
                'Question: Question 0?\nAnswer: ( 0 + 1 )\n\n'
            )
            assert prompt.endswith('Better explanation: tie')
        assert 'Explanation A: one {question} %s {0}\n\nExplanation B: two\n' in in_order
        assert 'Explanation A: two\n\nExplanation B: one {question} %s {0}\n' in swapped
        assert {
            (body['model'], body['temperature'], body['max_tokens']) for body in server.bodies
        } == {('a-model', 0.25, 60)}

    def test_questions_are_drawn_by_the_seed_and_common_to_both(self, tmp_path):
        a = predictions(tmp_path / 'a', [f'a{n}' for n in range(40)])
        b = predictions(tmp_path / 'b', [f'bb{n}' for n in range(30)])
        lines = (b / 'predictions.jsonl').read_text().splitlines(keepends=True)
        (b / 'predictions.jsonl').write_text(''.join(reversed(lines)))

        def drawn(**fields):
            return [pair.id for pair in draw_pairs(settings('http://x/v1', a, b, **fields))]

        few, more = drawn(questions=5), drawn(questions=12)
        assert more[:5] == few == drawn(questions=5)
        assert len(set(more)) == 12
        assert set(more) <= {f'q{n}' for n in range(30)}
        assert drawn(questions=5, seed=1) != few
        assert sorted(drawn(questions=99)) == sorted(f'q{n}' for n in range(30))
        lines = (a / 'predictions.jsonl').read_text().splitlines(keepends=True)
        (a / 'predictions.jsonl').write_text(''.join(reversed(lines)))
        assert drawn(questions=12) == more

    def test_the_field_of_sampled_rationales(self, tmp_path):
        a = predictions(tmp_path / 'a', ['aaa'], 'rationale_t0.7', rationale='x')
        b = predictions(tmp_path / 'b', ['b'], 'rationale_t0.7', rationale='xxxxxx')
        with JudgeServer(longer) as server:
            config = settings(server, a, b, rationales='rationale_t0.7')
            assert judge(config, tmp_path / 'out') == Triple(1, 0, 0)
            config.judge.rationales = 'rationale'
            assert judge(config, tmp_path / 'out') == Triple(0, 0, 1)
        assert len(records(tmp_path / 'out')) == 4

    def test_recorded_verdicts_are_not_asked_again(self, tmp_path):
        a = predictions(tmp_path / 'a', ['aa'] * 6)
        b = predictions(tmp_path / 'b', ['b'] * 6)
        with JudgeServer(longer) as server:
            judge(settings(server, a, b, questions=4), tmp_path / 'out')
            assert len(server.prompts) == 8
            assert judge(settings(server, a, b), tmp_path / 'out') == Triple(6, 0, 0)
            assert len(server.prompts) == 12
            predictions(tmp_path / 'b', ['bbb', *['b'] * 5])  # a changed rationale is a new pair
            assert judge(settings(server, a, b), tmp_path / 'out') == Triple(5, 0, 1)
            assert len(server.prompts) == 14

    def test_faults_and_unreadable_answers(self, tmp_path):
        a = predictions(tmp_path / 'a', ['a'] * 6)
        b = predictions(tmp_path / 'b', ['b'] * 6)
        kinds = ['ok'] * 6 + ['html', '429', '503', 'null_content', 'reset']
        with FaultServer(shuffled(kinds, seed=1)) as server:  # its answers hold no verdict
            triple = judge(settings(server, a, b), tmp_path / 'out', backoff=0.01)
        assert triple == Triple(0, 6, 0)
        found = report(tmp_path / 'out')
        assert found['unreadable'] == found['verdicts'] == 12
        assert found['first_preferred']['share'] is None
        assert sum(found['faults'].values()) == len(server.log) - 12 > 0
        for path in (tmp_path / 'out').iterdir():
            assert SECRET not in path.read_text()

    def test_the_budget_stops_it_and_no_report_is_written(self, tmp_path):
        a = predictions(tmp_path / 'a', ['aa'] * 6)
        b = predictions(tmp_path / 'b', ['b'] * 6)
        with JudgeServer(longer) as server:
            config = settings(server, a, b)
            # An answer is charged 10 + 5 tokens. A request goes out while its worst, a token for
            # each byte and 64 for the frame, still fits: after 75 spent, and no more after 90.
            pair = Pair('', 'Question 0?', '( 0 + 1 )', 'aa', 'b')
            prompt = fill(PROMPT, 'math word problem', pair, 'A')
            config.teacher.max_tokens_total = len(prompt) + 64 + 60 + 75
            with pytest.raises(InputError, match=r'6 of 12 verdicts are recorded .*budget'):
                judge(config, tmp_path / 'out')
            assert not (tmp_path / 'out' / 'judge.json').exists()
            assert len(records(tmp_path / 'out')) == 6
            config.teacher.max_tokens_total = 0
            assert judge(config, tmp_path / 'out') == Triple(6, 0, 0)
            assert len(server.prompts) == 12

    def test_killed_and_resumed(self, tmp_path):
        a = predictions(tmp_path / 'a', ['a' * (n % 3 + 1) for n in range(40)])
        b = predictions(tmp_path / 'b', ['bb'] * 40)
        code = (
            'import json, pathlib, sys\n'
            'from ml_collections import config_dict\n'
            'from qcrd_jax.teacher.judge import judge\n'
            'judge(config_dict.ConfigDict(json.loads(sys.argv[1])), pathlib.Path(sys.argv[2]))\n'
        )
        workdir = tmp_path / 'out'
        path = workdir / 'judgements.jsonl'
        with JudgeServer(longer, delay=0.05) as server:
            config = settings(server, a, b)
            command = [sys.executable, '-c', code, config.to_json(), str(workdir)]
            process = subprocess.Popen(command, stderr=subprocess.DEVNULL, env=dict(os.environ))
            deadline = time.monotonic() + 60
            while not path.exists() or path.stat().st_size < 4000:  # about a dozen verdicts
                assert process.poll() is None and time.monotonic() < deadline
                time.sleep(0.01)
            process.send_signal(signal.SIGKILL)
            process.wait()
            survived = path.read_bytes()
            path.write_bytes(survived[:-20] if survived.endswith(b'\n') else survived)  # torn
            triple = judge(config, workdir)
        # Lengths 1, 2, 3 in turn: 13 of 40 are longer than 2, 14 shorter, 13 as long.
        assert triple == Triple(13, 13, 14)
        keys = collections.Counter((record['id'], record['first']) for record in records(workdir))
        assert set(keys.values()) == {1}
        assert len(keys) == 80
        # A kill loses at most what was in flight, the tear one more.
        assert 80 < len(server.prompts) <= 80 + 4 + 1

    def test_a_judge_that_thinks_in_headings(self, tmp_path):
        a = predictions(tmp_path / 'a', ['aaa', 'aa', 'a'])
        b = predictions(tmp_path / 'b', ['b', 'bb', 'bb'])

        def verdict(first, second):
            words = longer(first, second).rpartition(' ')[2]
            return (
                f'<think>\nBetter explanation: {"B" if words == "A" else "A"}? No.\n'
                'Better explanation: tie\n</think>\n\n### Verdict\n\n'
                f'**Better explanation: {words}**<|im_end|>'
            )

        with JudgeServer(verdict) as server:
            assert judge(settings(server, a, b), tmp_path / 'out') == Triple(1, 1, 1)
        found = report(tmp_path / 'out')
        assert (found['ties'], found['unreadable']) == (2, 0)

    def test_thinking_that_was_cut_is_no_verdict_and_is_said(self, tmp_path, caplog):
        a = predictions(tmp_path / 'a', ['aaa'])
        b = predictions(tmp_path / 'b', ['b'])
        think = '<think>\nBetter explanation: A\nLet me see'
        with JudgeServer(lambda *_: think, finish_reason='length') as server:
            assert judge(settings(server, a, b), tmp_path / 'out') == Triple(0, 1, 0)
        assert report(tmp_path / 'out')['unreadable'] == 2
        assert (
            '2 of 2 answers hold no verdict and were cut at --config.judge.max_tok' in caplog.text
        )

    def test_reasoning_beside_the_answer_is_none(self, tmp_path):
        a = predictions(tmp_path / 'a', ['aaa'])
        b = predictions(tmp_path / 'b', ['b'])
        thought = 'Better explanation: A\nBetter explanation: B'

        def verdict(first, second):
            return {'content': longer(first, second), 'reasoning_content': thought}

        with JudgeServer(verdict) as server:
            assert judge(settings(server, a, b), tmp_path / 'out') == Triple(1, 0, 0)
        silent = {'content': '', 'reasoning_content': 'Better explanation: A'}
        with (
            JudgeServer(lambda *_: silent, finish_reason='length') as server,
            pytest.raises(InputError, match=r'0 of 2 verdicts .*--config.judge.max_tokens'),
        ):
            judge(settings(server, a, b), tmp_path / 'none')
        assert not (tmp_path / 'none' / 'judge.json').exists()

    def test_further_fields_are_sent_and_their_verdicts_are_others(self, tmp_path):
        a = predictions(tmp_path / 'a', ['aaa'])
        b = predictions(tmp_path / 'b', ['b'])
        with JudgeServer(longer) as server:
            config = settings(server, a, b)
            judge(config, tmp_path / 'out')
            config.teacher.extra = '{"chat_template_kwargs": {"enable_thinking": false}}'
            judge(config, tmp_path / 'out')
            judge(config, tmp_path / 'out')
            assert [body.get('chat_template_kwargs') for body in server.bodies] == [
                None, None, {'enable_thinking': False}, {'enable_thinking': False},
            ]  # fmt: skip
        assert len(records(tmp_path / 'out')) == 4
        assert report(tmp_path / 'out')['settings']['extra'] == {
            'chat_template_kwargs': {'enable_thinking': False}
        }


class TestDigest:
    """The name of the verdicts: of what decides them and of nothing else."""

    @pytest.fixture
    def runs(self, tmp_path):
        return [predictions(tmp_path / name, [f'{name} {n}' for n in range(6)]) for name in 'ab']

    def digest(self, runs, teacher=None, **fields):
        config = settings('http://x/v1', *runs, **fields)
        config.teacher.update(teacher or {})
        return judging.read_inquiry(config).digest

    def test_whom_it_is_asked_by_and_what_it_may_cost_are_no_part(self, runs, monkeypatch):
        monkeypatch.delenv('TEACHER_KEY')  # no key is needed to look
        first = self.digest(runs)
        for name, value in {
            'base_url': '', 'key_variable': 'OTHER_KEY', 'concurrency': 9, 'timeout': 1.0,
            'attempts': 1, 'input_price': 1.0, 'output_price': 2.0, 'budget': 3.0,
            'max_tokens_total': 99, 'temperature': 0.1, 'max_tokens': 7, 'prompt': 'x.txt',
        }.items():  # fmt: skip
            assert self.digest(runs, {name: value}) == first, name

    def test_what_decides_a_verdict_is_part(self, runs, tmp_path):
        (tmp_path / 'prompt.txt').write_text('{question} {explanation_a} {explanation_b}')
        digests = [
            self.digest(runs),
            self.digest(runs, {'model': 'another'}),
            self.digest(runs, temperature=0.5),
            self.digest(runs, max_tokens=61),
            self.digest(runs, prompt=str(tmp_path / 'prompt.txt')),
            self.digest(runs, questions=5),
            self.digest(runs, questions=5, seed=1),
            self.digest(runs[::-1]),
        ]
        config = settings('http://x/v1', *runs)
        config.data.name = 'cqa'  # another task
        digests.append(judging.read_inquiry(config).digest)
        (tmp_path / 'prompt.txt').write_text('{question} {explanation_a} or {explanation_b}')
        digests.append(self.digest(runs, prompt=str(tmp_path / 'prompt.txt')))
        texts = [f'b {n}' for n in range(5)]
        predictions(runs[1], [*texts, 'other words'])
        digests.append(self.digest(runs))
        for field in ('label', 'input'):
            for run, name in zip(runs, 'ab', strict=True):
                predictions(run, [f'{name} {n}' for n in range(6)], **{field: 'another'})
            digests.append(self.digest(runs))
        assert len(set(digests)) == len(digests)

    def test_fields_of_the_body_are_part_however_they_are_written(self, runs):
        def with_extra(extra):
            return self.digest(runs, {'extra': extra})

        assert with_extra('') == with_extra('{}') == self.digest(runs)
        thinking = with_extra('{"top_k": 1, "think": false}')
        assert thinking == with_extra('{"think":false,"top_k":1}')
        assert len({thinking, with_extra('{"top_k": 1}'), with_extra('')}) == 3

    def test_verdicts_of_before_there_were_such_fields_are_found(self, runs):
        inquiry = judging.read_inquiry(settings('http://x/v1', *runs))
        # What the digest was made of then, by hand.
        deciding = ['a-model', 0.0, 60, PROMPT, 'math word problem']
        then = hashlib.sha256(json.dumps(deciding).encode()).hexdigest()[:16]
        pairs = [[f'q{n}', f'Question {n}?', f'( {n} + 1 )', f'a {n}', f'b {n}'] for n in range(6)]
        whole = hashlib.sha256(json.dumps([then, pairs]).encode()).hexdigest()[:16]
        assert (inquiry.settings, inquiry.digest) == (then, whole)

    def test_the_model_is_that_which_is_asked_wherever_it_is_named(self, runs, monkeypatch):
        monkeypatch.delenv('OPENAI_MODEL', raising=False)
        default = self.digest(runs, {'model': ''})
        assert default == self.digest(runs, {'model': 'gpt-3.5-turbo'})
        monkeypatch.setenv('OPENAI_MODEL', 'a-model')
        assert self.digest(runs, {'model': ''}) == self.digest(runs) != default

    def test_the_runs_count_by_what_they_wrote(self, runs, tmp_path):
        moved = [tmp_path / 'elsewhere' / run.name for run in runs]
        for run, place in zip(runs, moved, strict=True):
            shutil.copytree(run, place)
        assert self.digest(moved) == self.digest(runs)
        # All questions in another order are the same questions.
        assert self.digest(runs, seed=1) == self.digest(runs, seed=0)


class TestRefused:
    @pytest.fixture
    def runs(self, tmp_path):
        return [predictions(tmp_path / name, [name] * 3) for name in 'ab']

    def refused(self, runs, **fields):
        with pytest.raises(InputError) as error:
            draw_pairs(settings('http://x/v1', *runs, **fields))
        return str(error.value)

    def test_no_runs(self, runs):
        assert '--config.judge.runs: expected the workdirs of two runs' in self.refused(['', ''])
        assert 'two runs' in self.refused([runs[0], f'{runs[0]}/.'])

    def test_a_run_without_predictions(self, runs):
        (runs[1] / 'predictions.jsonl').unlink()
        message = self.refused(runs)
        assert f'{runs[1]}/predictions.jsonl is missing' in message
        assert '--mode=evaluate' in message

    def test_no_common_question(self, runs):
        predictions(runs[1], ['b'], id='other')
        assert 'share no question' in self.refused(runs)

    @pytest.mark.parametrize('field', ['input', 'label'])
    def test_other_questions_of_the_same_ids(self, runs, field):
        predictions(runs[1], ['b'], **{field: 'changed'})
        message = self.refused(runs)
        assert f"question 'q0' has {field}" in message
        assert "'changed'" in message

    def test_a_field_that_is_not_there(self, runs):
        message = self.refused(runs, rationales='rationale_t0.7')
        assert "line 1: expected a text in field 'rationale_t0.7', got None" in message
        assert 'this run has rationale' in message

    def test_an_id_twice(self, runs):
        predictions(runs[0], ['a', 'b'], id='q1')
        assert "line 2: question 'q1' is there twice" in self.refused(runs)

    def test_another_dataset(self, runs):
        (runs[1] / 'config.json').write_text('{"data": {"name": "cqa"}}')
        assert "is a run on 'cqa', got 'svamp'" in self.refused(runs)

    def test_a_prompt_without_places(self, runs, tmp_path):
        (tmp_path / 'prompt.txt').write_text('Which is better? {explanation_a} {question}')
        config = settings('http://x/v1', *runs, prompt=str(tmp_path / 'prompt.txt'))
        with pytest.raises(InputError, match='no place for explanation_b'):
            judge(config, tmp_path / 'out')


@pytest.mark.parametrize(
    ('text', 'verdict'),
    [
        ('Better explanation: A', 'first'),
        ('A is wrong.\n\nBetter explanation: B\n', 'second'),
        ('**Better explanation:** B.', 'second'),
        ('better explanation: TIE', 'tie'),
        ('Better explanation: Explanation A', 'first'),
        ('Better explanation: (B)', 'second'),
        (' B ', 'second'),
        ('Better explanation: A\nBetter explanation: A', 'first'),
        ('Better explanation: A\nBetter explanation: B', 'unreadable'),
        ('Better explanation: A or B', 'unreadable'),
        ('Better explanation: neither', 'unreadable'),
        ('The better explanation: A', 'unreadable'),
        ('A\nB', 'unreadable'),
        ('I prefer A.', 'unreadable'),
        ('A because', 'unreadable'),
        ('', 'unreadable'),
        ('Better explanation: А', 'unreadable'),  # a Cyrillic letter
        ('\x00' * 10**6 + 'Better explanation: A', 'unreadable'),
        ('x\n' * 10**6 + 'Better explanation: A', 'first'),
        ('Better explanation:' + ' ' * 10**6, 'unreadable'),
    ],
)
def test_read_verdict(text, verdict):
    assert read_verdict(text) == verdict


def test_a_run_is_better_only_where_both_orders_say_so():
    table = {
        # (A first, B first): who is better
        ('first', 'second'): 'A',
        ('second', 'first'): 'B',
        ('first', 'first'): None,
        ('second', 'second'): None,
        ('first', 'tie'): None,
        ('unreadable', 'first'): None,
        ('tie', 'tie'): None,
    }
    for (a_first, b_first), better in table.items():
        pair = Pair('q', 'x', 'y', 'a', 'b')
        triple = count([pair], {'q': {'A': a_first, 'B': b_first}})
        assert triple == Triple(better == 'A', better is None, better == 'B')


def test_premise_and_hypothesis_are_shown_as_such():
    pair = Pair('q', 'It rains.</s>It is wet.', 'entailment', 'a', 'b')
    text = fill('{task}|{question}|{answer}|{explanation_a}|{explanation_b}', 'NLI', pair, 'B')
    assert text == 'NLI|Premise: It rains.\nHypothesis: It is wet.|entailment|b|a'


@pytest.mark.parametrize(
    ('wins', 'losses', 'p'),
    [(0, 0, 1.0), (1, 0, 1.0), (0, 6, 2 / 64), (2, 2, 1.0), (8, 1, 20 / 512)],
)
def test_sign_test_by_hand(wins, losses, p):
    assert sign_test(wins, losses) == pytest.approx(p)
    assert sign_test(losses, wins) == sign_test(wins, losses)


def test_sign_test_of_many():
    assert sign_test(5000, 5000) == 1.0
    assert 0 <= sign_test(10000, 0) < 1e-300


def test_rationales_that_are_not_those_of_the_run_are_not_judged(tmp_path):
    a, b = (predictions(tmp_path / name, [name]) for name in 'ab')
    sums.write(b, ['predictions.jsonl'])
    config = settings('http://x/v1', a, b)
    assert len(draw_pairs(config)) == 1
    path = b / 'predictions.jsonl'
    path.write_text(path.read_text().replace('"b"', '"c"'))
    with pytest.raises(InputError, match=r"b: 'predictions\.jsonl' was changed, by the digests"):
        draw_pairs(config)
