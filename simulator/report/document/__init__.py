"""The report of studies as one document, written as HTML, Markdown or PDF."""

from simulator.report.document.writing import FORMS, check_output, write_report

__all__ = ["FORMS", "check_output", "write_report"]
