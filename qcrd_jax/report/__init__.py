"""Reports: the page of a run, of two, and the tables, figures and page of many runs."""

from qcrd_jax.report.comparison import write_comparison
from qcrd_jax.report.experiments import write_experiments
from qcrd_jax.report.page import write_report
from qcrd_jax.report.table_files import write_table
from qcrd_jax.report.tables import Cell, Outcome, Table

__all__ = [
    'Cell',
    'Outcome',
    'Table',
    'write_comparison',
    'write_experiments',
    'write_report',
    'write_table',
]
