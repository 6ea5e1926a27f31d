"""Reads a tokenizer's file and some texts with it, in a process that may end in any way.

    python tokenizer_trial.py tokenizers|sentencepiece <file> <bytes of memory>

The libraries are C++ and Rust: a crafted file may make them panic, abort, or take all memory. Here
that costs nobody anything. The status is 0 where all went well; else what was wrong is printed, as
far as there is still somebody to say it.
"""

import resource
import sys

_SECONDS = 60  # of the processor
_BLOCK = 256  # characters of a text
# Letters, signs and accents; kana and Chinese; forms of other widths; what no vocabulary has.
_RANGES = ((0x20, 0x3400), (0x4E00, 0x4F00), (0xAC00, 0xAD00), (0xF900, 0xFB00), (0xFE00, 0xFFFE))
_RANGES += ((0x1F300, 0x1F700), (0x10FFFD, 0x10FFFE))


def texts() -> list[str]:
    """Returns texts of many characters, singly and together."""
    blocks = [
        ''.join(map(chr, range(start, min(start + _BLOCK, end))))
        for first, end in _RANGES
        for start in range(first, end, _BLOCK)
    ]
    return ['', ' ', '\n\t', ' two  spaces ', *blocks, *(' '.join(block) for block in blocks)]


def try_out(library: str, path: str, memory: int) -> None:
    """Reads a file with the library that it is for, and the texts with what comes of it."""
    if library == 'sentencepiece':
        import sentencepiece

        limit(memory)
        sentencepiece.SentencePieceProcessor(model_file=path).encode(texts())
    else:
        import tokenizers

        limit(memory)
        tokenizer = tokenizers.Tokenizer.from_file(path)
        tokenizer.no_padding()
        for text in texts():
            tokenizer.encode(text)


def limit(memory: int) -> None:
    """Lets this process have so many bytes more than it has, and a minute."""
    with open('/proc/self/statm', encoding='ascii') as file:
        present = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (present + memory, present + memory))
    resource.setrlimit(resource.RLIMIT_CPU, (_SECONDS, _SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main(library: str, path: str, memory: str) -> int:
    """Tries, and returns the status."""
    try:
        try_out(library, path, int(memory))
    except BaseException as error:  # a panic of Rust is no Exception
        print(str(error) or type(error).__name__)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main(*sys.argv[1:]))
