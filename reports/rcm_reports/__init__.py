"""Results to tables, plots and one self-contained page; a pure function of what a run stored.

Nothing here imports torch or the harness: a report can be rebuilt anywhere from the tables and
files of a run.
"""

from rcm_reports.documents import DOCUMENTS, document
from rcm_reports.inputs import ReportInput
from rcm_reports.page import render
from rcm_reports.plots import write_plots
from rcm_reports.tables import write_tables

__all__ = ["DOCUMENTS", "ReportInput", "document", "render", "write_plots", "write_tables"]
