"""Methods: what a training step minimises, and how it is compiled.

`METHODS` has an entry for each; `programs` compiles any of them.
"""

from qcrd_jax.methods.method import Method
from qcrd_jax.methods.table import METHODS, Entry, Parts

__all__ = ['METHODS', 'Entry', 'Method', 'Parts']
