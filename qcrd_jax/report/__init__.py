"""Reports: the page of a run, of two, and the tables, figures and page of many runs."""

from qcrd_jax.report.comparison import write_comparison
from qcrd_jax.report.experiments import write_experiments
from qcrd_jax.report.model_card import write_model_card
from qcrd_jax.report.page import write_report
from qcrd_jax.report.table_files import write_table
from qcrd_jax.report.tables import Cell, Outcome, Table

__all__ = [
    'Cell',
    'Outcome',
    'Table',
    'write_comparison',
    'write_experiments',
    'write_model_card',
    'write_report',
    'write_table',
]
