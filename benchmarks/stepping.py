"""One side of `benchmarks.against`: takes steps, a call whenever it is told to."""

import sys
from typing import IO, Any

from benchmarks import program
from benchmarks.machine import describe_machine, peak_memory
from benchmarks.setting import Setting
from benchmarks.subject import Subject
from benchmarks.worker import answer


def serve(setting: dict[str, Any], answers: IO[str]) -> None:
    """Compiles, then takes a call for every line 'step' of the standard input.

    Args:
      setting: the fields of a `Setting`.
      answers: gets a line when the program is compiled, one for every call, and one at the end.
    """
    subject = Subject(Setting(**setting))
    progress = subject.initial()
    made, seconds = subject.compile(progress)
    answer(
        answers,
        compile_seconds=seconds,
        memory=program.most_memory(made),
        kernels=program.all_kernels(made, subject.setting.lag, max(subject.sampled_length, 1)),
        batches=len(subject.batches),
        machine=describe_machine(),
    )
    del made
    step = 0
    for line in sys.stdin:
        assert line.strip() == 'step', line
        before = step
        progress, step, seconds = subject.take(progress, step)
        place = before % len(subject.batches)
        answer(answers, place=place, steps=step - before, seconds=seconds)
    memory, memory_of = peak_memory()
    answer(answers, peak_memory_bytes=memory, peak_memory_of=memory_of)
