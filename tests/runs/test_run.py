"""`python run.py` end to end, with everything small: runs, kills, resumes, and what they leave."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

from qcrd_jax import files, modes, sums
from qcrd_jax.config import base_config
from qcrd_jax.pipeline import Pipeline
from qcrd_jax.runs import chosen
from qcrd_jax.runs.digests import named_leaves
from tests.support import REPOSITORY
from tests.support.runs import (
    TIMINGS,
    Workbench,
    last_checkpoint,
    reached,
    read_metrics,
    small_config,
)

WRITTEN = (
    'predictions.jsonl',
    'scores.json',
    'examples.jsonl',
    'case_study.jsonl',
    'prepare.json',
    'votes.jsonl',
)


@pytest.fixture(scope='module')
def bench(tmp_path_factory) -> Workbench:
    return Workbench(tmp_path_factory.mktemp('run'))


@pytest.fixture(scope='module')
def unbroken(bench) -> pathlib.Path:
    """The workdir of a QCRD run that nothing disturbed."""
    workdir = bench.folder / 'unbroken'
    bench.run(workdir)
    return workdir


def pretraining(workdir):
    return 'discriminator:' in (workdir / 'stderr').read_text()


def saving(step):
    """Whether the checkpoint of a step is just being written."""

    def condition(workdir):
        folder = workdir / 'checkpoints'
        names = os.listdir(folder) if folder.exists() else []
        return any(name.startswith(f'{step}.') for name in names)

    return condition


def test_a_run_leaves_what_it_promises(unbroken):
    summary = json.loads((unbroken / 'summary.json').read_text())
    assert summary['method'] == 'qcrd'
    assert summary['dataset'] == 'mwp'
    assert summary['steps'] == 8
    assert summary['best_step'] in (6, 8)
    assert 0 < summary['negative_sampling_share'] < 1
    written = files.read_json(unbroken / 'scores.json')
    assert summary['discriminator_auc_test'] == written['auc']
    assert 0 <= summary['discriminator_auc'] <= 1
    predictions = [record for _, record in files.read_jsonl(unbroken / 'predictions.jsonl')]
    assert len({record['id'] for record in predictions}) == summary['test_questions'] == 10
    right = sum(record['correct'] for record in predictions)
    assert summary['test_accuracy'] == right / 10
    scores = json.loads((unbroken / 'scores.json').read_text())
    assert len(scores['student_t1.5']) == 10
    assert [record['step'] for record in read_metrics(unbroken, 'train')] == [2, 3, 4, 6, 8]
    assert [record['step'] for record in read_metrics(unbroken, 'validation')] == [6, 8]
    assert read_metrics(unbroken)[0]['phase'] == 'discriminator'
    assert read_metrics(unbroken)[-1]['phase'] == 'test'
    assert list((unbroken / 'tensorboard' / 'train').glob('events*'))
    study = [record for _, record in files.read_jsonl(unbroken / 'case_study.jsonl')]
    by_id = {record['id']: record for record in predictions}
    for record in study:
        rationales = {each['temperature']: each for each in record['rationales']}
        assert list(rationales) == [0.0, 0.7, 1.5]
        assert all(0 < each['score'] < 1 for each in rationales.values())
        # The same draws as of all test questions.
        assert rationales[0.0]['text'] == by_id[record['id']]['rationale']
        assert rationales[0.7]['text'] == by_id[record['id']]['rationale_t0.7']
        assert record['answer_type'] == 'equation'
        assert ' = ' in record['teacher']
    assert len(study) == 2
    counts = json.loads((unbroken / 'prepare.json').read_text())
    assert counts['train']['questions'] == 48
    assert 1 < counts['train']['right_per_question'] <= 3
    assert len((unbroken / 'votes.jsonl').read_text().splitlines()) == 48 + 8 + 10
    lines = [record for _, record in files.read_jsonl(unbroken / 'metrics.jsonl')]
    times = {r['step']: r['seconds_per_step'] for r in lines if r['phase'] == 'train'}
    steps = {2: 2, 3: 1, 4: 1, 6: 2, 8: 2}  # of the window that ends there
    expected = sum(times[step] * number for step, number in steps.items()) / 3600
    assert summary['training_hours'] == pytest.approx(expected)
    assert 0 < summary['pretraining_seconds'] < 300
    page = (unbroken / 'report' / 'index.html').read_text()
    assert '<svg' in page or 'data:image' in page
    out = (unbroken / 'stdout').read_text()
    assert 'ROC-AUC' in out
    assert out.splitlines()[-3].startswith('test accuracy: ')
    assert out.splitlines()[-2].startswith('right rationales: ')
    assert out.splitlines()[-1] == f'report: {unbroken / "report" / "index.html"}'


def test_the_ring_in_the_checkpoint_holds_the_last_students(unbroken):
    # Validation chose theta_6 unless theta_8 was better, and lag 2 keeps theta_6 and theta_7.
    step, arrays, record = last_checkpoint(unbroken)
    assert step == 8
    slot = record['metadata']['best_step'] == 6
    place = 'progress.ring.slots' if slot else 'progress.state.params'
    compared = 0
    for name, array in arrays.items():
        if name.startswith('best.'):
            twin = arrays[name.replace('best', place, 1)]
            np.testing.assert_array_equal(array, twin[0] if slot else twin, err_msg=name)
            compared += 1
    assert compared > 10
    first, second = np.asarray(arrays['progress.ring.slots.embedding'])
    latest = np.asarray(arrays['progress.state.params.embedding'])
    assert np.any(first != second)
    assert np.any(second != latest)


def assert_asked_without_data(workdir):
    """A run that has not ended: its student is that of the latest checkpoint, by itself."""
    copy = workdir.with_name('copy')
    shutil.copytree(workdir, copy, ignore=shutil.ignore_patterns('data', '.lock'))
    found = chosen.load(small_config(), copy)
    _, arrays, record = last_checkpoint(copy)
    assert found.scales == record['metadata']['scales']
    leaves = named_leaves({'best': found.pipeline.params})
    assert leaves.keys() == {name for name in arrays if name.startswith('best.')}
    for name, leaf in leaves.items():
        np.testing.assert_array_equal(leaf, arrays[name], err_msg=name)
    label, rationale = found.pipeline('Tom has 3 apples and buys 4 more. How many has he?')
    chosen.export(copy, found)
    again = Pipeline.load(copy / 'hf')
    assert again('Tom has 3 apples and buys 4 more. How many has he?') == (label, rationale)
    assert again.task == found.pipeline.task
    assert not (copy / 'student').exists()


def test_killed_and_rerun_ends_with_the_numbers_of_an_unbroken_run(bench, unbroken):
    workdir = bench.folder / 'killed'
    moments = [pretraining, saving(4), saving(8), reached('test', 0)]
    for moment in moments:
        bench.kill_when(moment, workdir)
        if moment is moments[2]:
            assert not (workdir / 'hf').exists()
            assert_asked_without_data(workdir)
    out = bench.run(workdir)
    assert 'resuming from step 8' in out

    expected_step, expected, expected_record = last_checkpoint(unbroken)
    step, arrays, record = last_checkpoint(workdir)
    assert step == expected_step
    # What was logged differs in times.
    metadata, wanted = (each['metadata'] for each in (record, expected_record))
    assert {**metadata, 'log': None} == {**wanted, 'log': None}
    assert record['arrays'] == expected_record['arrays']  # SHA-256 of every leaf
    assert {name.split('.')[0] for name in arrays} == {'progress', 'best'}
    parts = {'.'.join(name.split('.')[:3]) for name in arrays}
    assert {
        'progress.state.params',
        'progress.state.opt_state',
        'progress.state.discriminator',
        'progress.ring.slots',
    } <= parts
    assert arrays.keys() == expected.keys()

    assert read_metrics(workdir) == read_metrics(unbroken)
    for name in (*WRITTEN, 'config.json'):
        assert (workdir / name).read_bytes() == (unbroken / name).read_bytes(), name
    weights = 'hf/model.safetensors'
    assert (workdir / weights).read_bytes() == (unbroken / weights).read_bytes()
    summary, wanted = (
        json.loads((folder / 'summary.json').read_text()) for folder in (workdir, unbroken)
    )
    assert {k: v for k, v in summary.items() if k not in TIMINGS} == {
        k: v for k, v in wanted.items() if k not in TIMINGS
    }
    leftovers = [path for path in workdir.rglob('*') if 'tmp' in path.name]
    assert leftovers == []


def test_evaluate_repeats_the_predictions_of_the_run(bench, unbroken):
    path = unbroken / 'predictions.jsonl'
    before = path.read_bytes()
    path.unlink()
    out = bench.run(unbroken, '--mode=evaluate')
    assert path.read_bytes() == before
    right = sum(json.loads(line)['correct'] for line in before.splitlines())
    assert f'test accuracy: {right / 10:.4f} ({right} of 10)' in out


def test_predict_needs_the_workdir_alone(bench, unbroken):
    copy = bench.folder / 'alone'
    shutil.copytree(unbroken, copy, ignore=shutil.ignore_patterns('data', '.lock'))
    tested = [record for _, record in files.read_jsonl(unbroken / 'predictions.jsonl')]
    questions = [{'id': r['id'], 'input': r['input']} for r in tested[:3]]
    done = subprocess.run(
        [sys.executable, REPOSITORY / 'run.py', '--workdir=alone', '--mode=predict'],
        input=''.join(f'{json.dumps(each)}\n' for each in questions),
        cwd=bench.folder, env=bench.environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    records = [json.loads(line) for line in done.stdout.splitlines()]
    names = ('id', 'input', 'prediction', 'rationale')
    assert records == [{name: record[name] for name in names} for record in tested[:3]]


def test_export_writes_the_selected_student_again(bench, unbroken):
    path = unbroken / 'hf' / 'model.safetensors'
    before = path.read_bytes()
    path.unlink()
    assert bench.run(unbroken, '--mode=export') == f'student: {unbroken / "hf"}\n'
    assert path.read_bytes() == before


@pytest.mark.parametrize('place', [0, 1])
def test_the_model_card_tells_how_to_ask(unbroken, place):
    pytest.importorskip('torch')
    card = (unbroken / 'hf' / 'README.md').read_text()
    record = next(record for _, record in files.read_jsonl(unbroken / 'predictions.jsonl'))
    code = re.findall('```python\n(.*?)```', card, re.DOTALL)[place]
    code += 'print(label, rationale, sep="\\n")' if place else ''
    done = subprocess.run(
        [sys.executable, '-c', code], cwd=unbroken / 'hf', capture_output=True, text=True,
        check=True, env=os.environ | {'PYTHONPATH': str(REPOSITORY)},
    )  # fmt: skip
    label, rationale = done.stdout.splitlines()
    assert rationale == record['rationale']
    # `generate` has one limit for both, and this student does not end its labels.
    assert label == record['prediction'] if place else label.startswith(record['prediction'])
    summary = json.loads((unbroken / 'summary.json').read_text())
    low, high = summary['test_interval']
    row = f'| labels | {summary["test_accuracy"]:.4f} | {low:.4f} to {high:.4f} |'
    assert row in card
    assert sums.faults(unbroken / 'hf') == []


def test_prepare_prints_what_was_read(tmp_path, capsys):
    modes.run('prepare', small_config(), tmp_path)
    out = capsys.readouterr().out
    assert 'train: 48 examples' in out
    assert 'validation: 8 examples' in out
    assert 'test: 10 examples' in out
    assert not (tmp_path / 'checkpoints').exists()


def test_the_export_answers_in_ctranslate2_as_it_did_here(unbroken, tmp_path):
    pytest.importorskip('torch')  # its converter reads weights by it
    ctranslate2 = pytest.importorskip('ctranslate2')
    import transformers

    ctranslate2.converters.TransformersConverter(str(unbroken / 'hf')).convert(str(tmp_path / 'c'))
    translator = ctranslate2.Translator(str(tmp_path / 'c'))
    tokenizer = transformers.AutoTokenizer.from_pretrained(unbroken / 'hf')
    prefixes, settings = base_config().data.prefixes, small_config()
    for _, record in files.read_jsonl(unbroken / 'predictions.jsonl'):
        for prefix, expected in zip(prefixes, ('prediction', 'rationale'), strict=True):
            ids = tokenizer(prefix + record['input'])['input_ids']
            (found,) = translator.translate_batch(
                [tokenizer.convert_ids_to_tokens(ids)],
                beam_size=1,
                max_decoding_length=settings.evaluation.max_length,
            )
            written = tokenizer.convert_tokens_to_ids(found.hypotheses[0])
            text = tokenizer.decode(written, skip_special_tokens=True)
            # The limit is that of a label, and a rationale may be longer.
            whole = record[expected]
            assert text == (whole if expected == 'prediction' else whole[: len(text)]) != ''


def elsewhere(package):
    """A Python with a package that does not install beside ours, named by a variable."""
    variable = f'QCRD_{package.upper()}'
    if variable not in os.environ:
        pytest.skip(f'{variable} names no Python that has it')
    return os.environ[variable]


def test_the_export_answers_in_transformers_4_as_it_did_here(unbroken):
    python = elsewhere('transformers_4')
    code = (
        'import json, sys, transformers\n'
        'assert transformers.__version__.startswith("4.")\n'
        'tokenizer = transformers.AutoTokenizer.from_pretrained(".")\n'
        'model = transformers.AutoModelForSeq2SeqLM.from_pretrained(".").eval()\n'
        'for prompt in json.load(sys.stdin):\n'
        '    ids = model.generate(**tokenizer(prompt, return_tensors="pt"))\n'
        '    print(json.dumps(tokenizer.decode(ids[0], skip_special_tokens=True)))\n'
    )
    records = [record for _, record in files.read_jsonl(unbroken / 'predictions.jsonl')]
    prompts = [base_config().data.prefixes[1] + record['input'] for record in records]
    done = subprocess.run(
        [python, '-c', code], cwd=unbroken / 'hf', input=json.dumps(prompts),
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    written = [json.loads(line) for line in done.stdout.splitlines()]
    assert written == [record['rationale'] for record in records]


def test_the_export_answers_in_lm_evaluation_harness_as_it_did_here(unbroken, tmp_path):
    python = elsewhere('lm_eval')
    task = {
        'task': 'questions',
        'dataset_path': 'json',
        'dataset_kwargs': {'data_files': {'test': str(unbroken / 'predictions.jsonl')}},
        'test_split': 'test',
        'output_type': 'generate_until',
        'doc_to_text': base_config().data.prefixes[0] + '{{input}}',
        'doc_to_target': '{{prediction}}',
        'generation_kwargs': {
            'until': ['</s>'],
            'max_gen_toks': small_config().evaluation.max_length,
            'do_sample': False,
        },
        'metric_list': [{'metric': 'exact_match', 'aggregation': 'mean', 'higher_is_better': True}],
    }
    files.write_json(tmp_path / 'questions.yaml', task)  # which is YAML too
    command = [python, '-m', 'lm_eval', 'run', '--model', 'hf', '--tasks', 'questions']
    command += ['--model_args', f'pretrained={unbroken / "hf"},backend=seq2seq', '--device', 'cpu']
    command += ['--include_path', str(tmp_path), '--output_path', str(tmp_path / 'out')]
    done = subprocess.run(
        [*command, '--log_samples'],
        capture_output=True,
        text=True,
        env=os.environ | {'HF_HOME': str(tmp_path / 'home'), 'HF_HUB_OFFLINE': '1'},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (samples,) = (tmp_path / 'out').rglob('samples_*.jsonl')
    asked = [record for _, record in files.read_jsonl(samples)]
    assert len(asked) == len(list(files.read_jsonl(unbroken / 'predictions.jsonl')))
    for sample in asked:
        # Its limit is longer: it counts the prompt too.
        expected = sample['doc']['prediction'].strip()
        assert expected and sample['resps'][0][0].strip().startswith(expected)


def test_the_export_answers_in_transformers_as_it_did_here(unbroken):
    torch = pytest.importorskip('torch')
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(unbroken / 'hf')
    student = transformers.T5ForConditionalGeneration.from_pretrained(unbroken / 'hf').eval()
    records = [record for _, record in files.read_jsonl(unbroken / 'predictions.jsonl')]
    prompts = [base_config().data.prefixes[0] + record['input'] for record in records]
    with torch.no_grad():
        ids = student.generate(
            **tokenizer(prompts, padding=True, return_tensors='pt'),
            max_new_tokens=small_config().evaluation.max_length,
            do_sample=False,
            num_beams=1,
        )
    texts = tokenizer.batch_decode(ids, skip_special_tokens=True)
    assert texts == [record['prediction'] for record in records]


def test_real_questions_with_several_teachers(shared_data, tmp_path, capsys):
    config = base_config()
    config.student.pretrained = ''
    config.data.source = str(shared_data / 'dss')
    config.data.teacher_samples = str(shared_data / 'teacher' / 'svamp_samples.jsonl')
    modes.run('prepare', config, tmp_path)
    out = capsys.readouterr().out
    assert 'validation: 80 examples' in out
    assert 'test: 200 examples' in out
    positives = int(re.search(r'train: 720 examples, (\d+) positives', out)[1])
    assert positives > 2 * 720  # several rationales per question
