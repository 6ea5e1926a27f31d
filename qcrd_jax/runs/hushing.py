"""What threads of Orbax and TensorStore print by themselves, and is said better elsewhere."""

import functools
import logging as python_logging
import os
import sys
from typing import Any

from absl import logging


@functools.cache
def hush_threads() -> None:
    """Drops the tracebacks of threads of Orbax and TensorStore, once for all.

    What went wrong is in the error that is raised in the end. Orbax logs it in every thread that it
    concerns. For an array that cannot be read it closes its event loop, and reading the others
    fails in the background after that.
    """
    show = sys.unraisablehook

    def hook(unraisable: Any) -> None:
        error = unraisable.exc_value
        if not (isinstance(error, RuntimeError) and str(error) == 'Event loop is closed'):
            show(unraisable)

    def is_new(record: python_logging.LogRecord) -> bool:
        return not record.getMessage().startswith('Task exception was never retrieved')

    def without_traceback(record: python_logging.LogRecord) -> bool:
        if f'{os.sep}orbax{os.sep}' in record.pathname:
            record.exc_info = record.exc_text = None
        return True

    sys.unraisablehook = hook
    logging.get_absl_logger().addFilter(without_traceback)
    python_logging.getLogger('asyncio').addFilter(is_new)
