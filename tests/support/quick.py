"""How programs are compiled for tests, most of whose time is compilation of what runs briefly."""

import mmap
import pathlib

import jaxlib

# Without MLIR's emitters of fused loops compilation takes half as long.
_WANTED = {
    'xla_backend_optimization_level': '0',
    'xla_cpu_use_fusion_emitters': 'false',
    'xla_cpu_parallel_codegen_split_count': '1',
}


def _is_known(flag: str) -> bool:
    """Whether this XLA has a flag: one that it does not know ends the process.

    >>> _is_known('xla_backend_optimization_level'), _is_known('xla_of_no_such_name')
    (True, False)
    """
    for library in pathlib.Path(jaxlib.__file__).parent.glob('*.so'):
        with (
            open(library, 'rb') as opened,
            mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as text,
        ):
            if text.find(flag.encode()) >= 0:
                return True
    return False


XLA_FLAGS = ' '.join(f'--{flag}={value}' for flag, value in _WANTED.items() if _is_known(flag))
