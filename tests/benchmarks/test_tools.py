"""What benchmarks count and time: kernels, memory, phases, real lengths, turns of two checkouts."""

import json
import pathlib
import subprocess
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qcrd_jax import grid, validation
from qcrd_jax.models import architectures
from tests.support import REPOSITORY


@pytest.fixture(autouse=True)
def _benchmarks(monkeypatch):
    monkeypatch.syspath_prepend(REPOSITORY)


HLO = """HloModule made_up

%inside (a: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  ROOT %sum = f32[] add(%a, %a)
}

%turn (state: (f32[], f32[])) -> (f32[], f32[]) {
  %state = (f32[], f32[]) parameter(0)
  %one = f32[] get-tuple-element(%state), index=0
  %fused = f32[] fusion(%one), kind=kLoop, calls=%inside
  ROOT %next = (f32[], f32[]) tuple(%fused, %one)
}

%again (state: (f32[], f32[])) -> pred[] {
  %state = (f32[], f32[]) parameter(0)
  ROOT %less = pred[] compare(%state, %state), direction=LT
}

%short (b: f32[]) -> f32[] {
  ROOT %b = f32[] parameter(0)
}

%long (c: f32[]) -> f32[] {
  %c = f32[] parameter(0)
  %copied = f32[] copy(%c)
  ROOT %product = f32[] dot(%copied, %copied)
}

ENTRY %main (x: (f32[], f32[])) -> f32[] {
  %x = (f32[], f32[]) parameter(0)
  %three = (f32[], f32[]) while(%x), condition=%again, body=%turn, backend_config={"known_trip_count":{"n":"3"}}
  %some = (f32[], f32[]) while(%three), condition=%again, body=%turn
  %y = f32[] get-tuple-element(%some), index=0
  %called = f32[] custom-call(%y), custom_call_target="__cublas$gemm"
  ROOT %either = f32[] conditional(%called, %y, %y), branch_computations={%short, %long}
}
"""  # noqa: E501


def test_kernels_of_a_program_by_hand():
    from benchmarks import program

    # In loops a fusion and a comparison; then a call of a library, a copy and a product.
    assert program.kernels(HLO, unknown_trips=5) == {
        'fusions': 1,
        'products': 2,
        'loops': 2,
        'kernels': 5,
        'launches': (3 + 5) * 2 + 1 + 2,
    }


def test_an_update_that_is_seldom_due_is_no_decoding_loop():
    from benchmarks import program

    @jax.jit
    def learn(due, x):
        with jax.named_scope('update_if_due'):
            return jax.lax.fori_loop(0, due, lambda _, s: jnp.tanh(s @ s), x)

    text = learn.lower(jnp.int32(1), jnp.ones((64, 64))).compile().as_text()
    assert 'while(' in text
    assert program.kernels(text, 1000) == program.kernels(text, 1)


def test_memory_and_kernels_of_a_compiled_program():
    from benchmarks import program

    def step(state, x):
        return jax.lax.fori_loop(0, 3, lambda _, s: jnp.tanh(s @ x), state)

    state, x = jnp.ones((64, 64)), jnp.ones((64, 64))
    compiled = jax.jit(step, donate_argnums=0).lower(state, x).compile()
    memory = program.memory(compiled)
    assert (memory['arguments'], memory['results'], memory['shared']) == (2 * 2**14, 2**14, 2**14)
    assert memory['total'] == memory['arguments'] + memory['between']
    counted = program.kernels(compiled.as_text())
    assert counted['loops'] == 1
    assert counted['launches'] >= 3  # whatever it fuses, the loop turns three times


def test_a_clock_counts_each_second_to_one_phase():
    from benchmarks.phases import Clock

    time = 0.0
    clock = Clock(lambda: time)
    with clock.phase('training'):
        time = 5.0
        clock.move(2.0, 'compilation')
        with clock.phase('validation'):
            time = 8.0
        time = 9.0
    time = 10.0
    assert clock.stop() == {'training': 4.0, 'compilation': 2.0, 'validation': 3.0, 'other': 1.0}


def test_every_function_that_is_timed_exists_and_every_phase_is_shown():
    from benchmarks import phases, run

    found = {name: phases.holder(name) for name in phases.PHASES}
    there = {phases.PHASES[name] for name, place in found.items() if place is not None}
    assert there == set(phases.PHASES.values()) <= set(run.PHASES)
    assert found['qcrd_jax.runs.loop.train'].__name__ == 'qcrd_jax.runs.loop'


def test_a_function_that_is_timed_counts_to_its_phase(monkeypatch):
    from benchmarks import phases

    time = 0.0

    def work():
        nonlocal time
        time += 3.0
        return 'done'

    class Module:
        pass

    module: Any = Module()
    module.work = work
    monkeypatch.setattr(phases, 'PHASES', {'m.work': 'training', 'm.earlier': 'training'})
    monkeypatch.setattr(phases, 'holder', lambda name: module if name == 'm.work' else None)
    clock = phases.Clock(lambda: time)
    phases.watch(clock)
    assert module.work() == 'done'
    assert clock.stop() == {'training': 3.0, 'other': 0.0}
    monkeypatch.setattr(phases, 'PHASES', {'m.earlier': 'report'})
    with pytest.raises(LookupError, match='phase report'):
        phases.watch(clock)


def test_runs_are_summed_up_by_medians_and_compared():
    from benchmarks import run

    def made(training: float, per_step: float):
        return {
            'seconds': {'training': training, 'data': 1.0},
            'summary': {'seconds_per_step': per_step, 'steps': 10},
            'peak_memory_bytes': 2**20,
        }

    old = run.medians([made(20, 2.0), made(40, 4.0), made(90, 9.0)])
    new = run.medians([made(10, 1.0)])
    assert (old['training'], old['all'], old['per step']) == (40, 41, 4.0)
    assert old['training, per step'] == 4.0
    lines = run.summarise({'old': old, 'new': new}).splitlines()
    rows = {line[:20].strip(): line[20:].split() for line in lines}
    assert rows['per step'] == ['4.000', '1.000', '0.250']
    assert rows['pretraining'] == ['0.000', '0.000', '-']


def test_the_short_demonstration_is_a_configuration_that_runs():
    from benchmarks import run

    (_, file), *others = (flag.removeprefix('--').split('=', 1) for flag in run.SHORT)
    config = grid.config_file(REPOSITORY / file).get_config()
    config.update_from_flattened_dict(
        {name.removeprefix('config.'): int(value) for name, value in others}
    )
    validation.validate(config)
    assert config.train.steps == 60


def test_a_table_of_lengths_becomes_sequences_of_these_lengths():
    from benchmarks import lengths

    rows = lengths.of_table('svamp')
    config = architectures.named('tiny', 'v1.0')
    encoded = lengths.encoded(rows, config)
    assert len(encoded) == len(rows) == 720
    for place in (0, 2, 719):
        row = rows[place]
        fields = [encoded.predict, encoded.explain, encoded.question, encoded.label]
        assert [len(field[place]) for field in fields] == row[:4]
        for groups, sizes in ((encoded.positives, row[4]), (encoded.negatives, row[5])):
            assert [len(ids) for ids in groups[place]] == sizes
            assert all(ids[-1] == config.eos_id for ids in groups[place])
    assert encoded.predict.items.max() < config.vocab_size
    assert np.isin(encoded.predict.items, [config.pad_id]).sum() == 0


def test_a_table_is_made_of_the_lengths_of_a_split():
    from benchmarks import lengths
    from benchmarks.lengths import make

    rows = [[3, 4, 2, 5, [6, 7], []], [2, 2, 1, 1, [], [9]]]
    encoded = lengths.encoded(rows, architectures.named('tiny', 'v1.0'))
    assert make.lengths(encoded) == rows


def test_known_devices_are_found_by_their_name():
    from benchmarks import peaks

    class Device:
        device_kind, platform = 'NVIDIA H100 80GB HBM3', 'gpu'

    found = peaks.of_device(Device())
    assert found is not None
    assert (found.operations['bfloat16'], found.bandwidth) == (989.4e12, 3.35e12)
    Device.device_kind = 'an unknown one'
    assert peaks.of_device(Device()) is None


def test_without_an_accelerator_it_says_so(monkeypatch, capsys):
    from benchmarks import gpu

    monkeypatch.setattr(gpu, 'accelerator', lambda: '')
    gpu.main([])
    assert 'JAX finds no accelerator here' in capsys.readouterr().out


def test_rows_that_the_time_is_not_enough_for_say_so(capsys):
    from benchmarks import gpu

    (none,) = gpu.measure([gpu.ROWS[0]], seconds=0.0)
    (cut,) = gpu.measure([gpu.ROWS[0]], seconds=0.2)
    assert none['error'] == 'not measured: no time was left'
    assert cut['error'] == 'not measured: the time was over'
    assert 'T5-base qcrd' in capsys.readouterr().out


def test_every_row_is_a_setting():
    from benchmarks import gpu, step

    for row in (*gpu.ROWS, *gpu.TRIAL):
        setting, path = step._parse(row.flags)
        assert setting.method in row.name and path is None


# Answers as a side does, without taking a step; how long one takes is in a file.
FAKE = """
import json, sys

def answer(**values):
    print(json.dumps(values), flush=True)

speed, step = float(open('speed').read()), 0
answer(
    compile_seconds=1.0, memory={'total': 4 * speed, 'between': speed},
    kernels={'kernels': 2, 'launches': 3}, batches=4, machine={'device': 'd', 'cpus': 1},
)
for line in sys.stdin:
    answer(place=step % 4, steps=2, seconds=2 * speed + (10.0 if step < 2 else 0.0))
    step += 2
answer(peak_memory_bytes=100 * speed, peak_memory_of='process')
"""


@pytest.fixture
def fake_sides(monkeypatch, tmp_path):
    """Two folders whose processes only say how long a step takes."""
    from benchmarks import against

    def start(checkout: pathlib.Path, module: str, arguments, **environment):
        command, pipe = [sys.executable, '-c', FAKE], subprocess.PIPE
        return subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=checkout)

    monkeypatch.setattr(against.worker, 'start', start)
    for name, speed in (('old', 0.5), ('new', 0.2)):
        (tmp_path / name).mkdir()
        (tmp_path / name / 'speed').write_text(str(speed))
    return tmp_path


def test_two_checkouts_take_turns_and_are_compared(fake_sides):
    from benchmarks import against
    from benchmarks.setting import Setting

    old, new = fake_sides / 'old', fake_sides / 'new'
    result = against.measure(old, new, Setting(steps=6), rounds=2)
    assert result['ratio'] == pytest.approx(0.4)
    assert result['ratio_of_pairs'] == pytest.approx([0.4] * 3)
    # Six calls of two steps each; the first calls, of the warm-up, do not count.
    assert result['old']['all_seconds_per_step'] == [0.5] * 6
    # The program's second, and the ten that the first call took longer than it did later.
    assert result['new']['compile_seconds'] == pytest.approx(11.0)
    text = against.summarise(result)
    assert 'seconds per step                  0.5000      0.2000       0.400' in text
    assert json.loads(json.dumps(result)) == result


def test_a_side_that_ends_says_so(fake_sides):
    from benchmarks import against
    from benchmarks.setting import Setting
    from qcrd_jax.errors import InputError

    (fake_sides / 'new' / 'speed').unlink()
    with pytest.raises(InputError, match='new: its process ended with status 1'):
        against.measure(fake_sides / 'old', fake_sides / 'new', Setting())


def test_a_folder_without_the_package_is_no_checkout(tmp_path, capsys):
    from benchmarks import against, run

    for main in (against.main, run.main):
        with pytest.raises(SystemExit):
            main([f'--old={tmp_path}'])
        assert 'is no checkout of this project' in capsys.readouterr().err


TALK = """HloModule m

%layer (x: f32[8,4]) -> f32[8,4] {
  %x = f32[8,4]{1,0} parameter(0)
  %gathered = (bf16[2,8]{1,0}, f32[3]{0}) all-gather(%x, %x), dimensions={0}
  ROOT %out = f32[8,4]{1,0} all-reduce(%x), to_apply=%sum
}

%more (x: f32[8,4]) -> pred[] {
  %x = f32[8,4]{1,0} parameter(0)
  ROOT %done = pred[] all-reduce(%x), to_apply=%sum
}

ENTRY %main (x: f32[8,4]) -> f32[8,4] {
  %x = f32[8,4]{1,0} parameter(0)
  %known = f32[8,4]{1,0} while(%x), body=%layer, backend_config={"known_trip_count":{"n":"12"}}
  %unknown = f32[8,4]{1,0} while(%x), condition=%more, body=%layer
  ROOT %started = f32[8,4]{1,0} all-reduce-start(%x), to_apply=%sum
}
"""


def test_collectives_are_counted_as_often_as_they_run():
    from benchmarks import program

    found = program.collectives(TALK, unknown_trips=3)
    turns, gathered, reduced = 12 + 3, 2 * 8 * 2 + 3 * 4, 8 * 4 * 4
    assert found == {
        'all-gather': {'count': turns, 'bytes': turns * gathered},
        'all-reduce': {'count': turns + 3 + 1, 'bytes': (turns + 1) * reduced + 3},
    }


def test_scale_compiles_what_it_says_without_any_weight():
    from benchmarks import scale

    case = scale.Case('tiny', 'v1.0', 'qcrd', 'tiny', devices=1, fsdp=1, batch=2, lag=2)
    found = scale.measure(case)
    student = architectures.named('tiny', 'v1.0')
    params = jax.eval_shape(architectures.student_of(student, jnp.bfloat16).init, jax.random.key(0))
    count = sum(leaf.size for leaf in jax.tree.leaves(params))
    assert found['parameters'] == count
    # Parameters and moments of student and discriminator, and a ring of two in bfloat16.
    assert 12 * count + 2 * 2 * count < found['kept'] < 2 * (12 + 2 * 2) * count
    assert found['programs'].keys() == {'sampling', 'learning'}
    for each in found['programs'].values():
        assert each['collectives'] == {}
        assert each['memory']['arguments'] >= found['kept'] / 8
    assert scale.row(found).startswith('| v1.0 tiny, qcrd | 1 x 1 | 2 | 2 |')
