"""What a compiled program says of itself: the memory that it takes, and how many kernels it is."""

import functools
import re
from collections.abc import Sequence
from typing import Any

_COMPUTATION = re.compile(r'^(ENTRY )?%?([\w.\-]+) \(.*\) -> .*\{$')
_INSTRUCTION = re.compile(r'^\s+(?:ROOT )?%?[\w.\-]+ = (?:\(.*?\)|\S+) ([a-z][\w\-]*)\(')
_CALLED = re.compile(
    r'(?:body|condition|to_apply|calls|(?:true|false)_computation|branch_computations)='
    r'(?:\{([^}]*)\}|(%?[\w.\-]+))'
)
_COLLECTIVE = re.compile(
    r'^(all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter|collective-broadcast)'
    r'(?:-start)?$'
)
_RESULT = re.compile(r' = (.*?) [a-z][\w\-]*\(')
_ARRAY = re.compile(r'\b(pred|[a-z]+\d+\w*)\[([\d,]*)\]')
_ONCE = 'update_if_due'  # a name within that of a loop that turns once or never
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')

# What the runtime of a device does without a kernel: names, views, and flow of control.
_FREE = frozenset(
    'parameter constant tuple get-tuple-element bitcast after-all opt-barrier while conditional '
    'call async-start async-update async-done copy-done partition-id replica-id'.split()
)


def memory(compiled: Any) -> dict[str, int]:
    """Returns the bytes that a program holds while it runs, as its compiler planned them.

    'total' is arguments, results and everything between, where what is donated counts once.
    """
    stats = compiled.memory_analysis()
    arguments, results = stats.argument_size_in_bytes, stats.output_size_in_bytes
    shared, between = stats.alias_size_in_bytes, stats.temp_size_in_bytes
    return {
        'arguments': arguments,
        'results': results,
        'shared': shared,
        'between': between,
        'total': arguments + results + between - shared,
    }


def most_memory(made: Sequence[Any]) -> dict[str, int]:
    """Returns `memory` of that program, of some that run in turns, which takes most."""
    return max(map(memory, made), key=lambda each: each['total'])


def all_kernels(made: Sequence[Any], steps: int, unknown_trips: int = 1) -> dict[str, int]:
    """Returns `kernels` of all programs together.

    Args:
      made: one program; or one that samples for some steps, and one that learns in each of them.
      steps: of those.
      unknown_trips: as `kernels` has them.
    """
    found = [kernels(each.as_text(), unknown_trips) for each in made]
    found[1:] = [{**each, 'launches': steps * each['launches']} for each in found[1:]]
    return {name: sum(each[name] for each in found) for name in found[0]}


def kernels(text: str, unknown_trips: int = 1) -> dict[str, int]:
    """Counts the kernels of a program: fusions, products, copies, and all else that is launched.

    Args:
      text: of the compiled program (`compiled.as_text()`).
      unknown_trips: how often a loop turns of which the compiler does not know it, as a decoding
        loop that may end early.

    Returns:
      'fusions', 'products' (`dot` and `custom-call`, which calls a library), 'loops', 'kernels' (of
      every kind), each as often as it stands in the program; and 'launches', the kernels as often
      as they run, where of several branches the longest is taken.
    """
    computations, entry = _computations(text)

    @functools.cache
    def launches(name: str) -> int:
        return sum(
            1 if opcode not in _FREE else _repeated(line, opcode, launches, unknown_trips)
            for opcode, line in computations[name]
        )

    found = [opcode for name in _reached(computations, entry) for opcode, _ in computations[name]]
    return {
        'fusions': found.count('fusion'),
        'products': found.count('dot') + found.count('custom-call'),
        'loops': found.count('while'),
        'kernels': sum(opcode not in _FREE for opcode in found),
        'launches': launches(entry),
    }


def collectives(text: str, unknown_trips: int = 1) -> dict[str, dict[str, int]]:
    """Counts what devices say to each other in a program.

    Args:
      text: of the compiled program.
      unknown_trips: as `kernels` has them.

    Returns:
      By kind ('all-gather', 'all-reduce', ...): 'count', how often it runs, and 'bytes', those of
      its results on one device. Of several branches the one with most bytes is taken.
    """
    computations, entry = _computations(text)

    @functools.cache
    def talk(name: str) -> tuple[tuple[str, int, int], ...]:
        found: dict[str, list[int]] = {}
        for opcode, line in computations[name]:
            if kind := _COLLECTIVE.match(opcode):
                parts = [(kind[1], 1, _bytes_of_result(line))]
            elif called := _called(line, opcode):
                branches = [talk(each) for each in called]
                if opcode == 'conditional':
                    branches = [max(branches, key=lambda parts: sum(size for *_, size in parts))]
                trips = _trips(line, unknown_trips) if opcode == 'while' else 1
                parts = [(k, n * trips, size * trips) for each in branches for k, n, size in each]
            else:
                continue
            for each, count, size in parts:
                total = found.setdefault(each, [0, 0])
                total[0] += count
                total[1] += size
        return tuple((each, count, size) for each, (count, size) in found.items())

    return {each: {'count': count, 'bytes': size} for each, count, size in talk(entry)}


def _bytes_of_result(line: str) -> int:
    """Bytes of the arrays that an instruction returns."""
    result = _RESULT.search(line)
    total = 0
    for kind, sizes in _ARRAY.findall(result[1] if result else ''):
        bits = int(re.sub(r'\D.*', '', re.sub(r'^\D+', '', kind)) or 8)  # pred is a byte
        elements = 1
        for size in filter(None, sizes.split(',')):
            elements *= int(size)
        total += elements * bits // 8
    return total


def _trips(line: str, unknown: int) -> int:
    """How often a loop turns."""
    if known := _TRIPS.search(line):
        return int(known[1])
    return 1 if _ONCE in line else unknown


def _computations(text: str) -> tuple[dict[str, list[tuple[str, str]]], str]:
    """Returns the (opcode, line) of the instructions of every computation, and the entry's name."""
    computations: dict[str, list[tuple[str, str]]] = {}
    entry, current = '', []
    for line in text.splitlines():
        if head := _COMPUTATION.match(line):
            current = computations[head[2]] = []
            entry = head[2] if head[1] else entry
        elif instruction := _INSTRUCTION.match(line):
            current.append((instruction[1], line))
    return computations, entry


def _called(line: str, opcode: str) -> list[str]:
    """The computations that flow of control runs; those within a kernel are a part of it."""
    if opcode not in ('while', 'conditional', 'call', 'async-start'):
        return []
    names = ','.join(several or one for several, one in _CALLED.findall(line))
    return [name.strip().lstrip('%') for name in names.split(',') if name.strip()]


def _reached(computations: dict[str, list[tuple[str, str]]], entry: str) -> list[str]:
    """The computations that the entry runs, itself first."""
    reached = [entry]
    for name in reached:
        for opcode, line in computations[name]:
            reached += [each for each in _called(line, opcode) if each not in reached]
    return reached


def _repeated(line: str, opcode: str, launches: Any, unknown_trips: int) -> int:
    counts = [launches(name) for name in _called(line, opcode)]
    if opcode == 'while':
        return sum(counts) * _trips(line, unknown_trips)
    return max(counts, default=0) if opcode == 'conditional' else sum(counts)
