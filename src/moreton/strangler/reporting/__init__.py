"""Tells of a migration afterwards, or while it goes on: what moved, what was found, what proves it.

Use it for whoever was not there. Everything in it was written down when it happened: the history,
the gates' verdicts, samples over time, and what a comparer kept. A page stands alone: no scripts,
nothing from elsewhere.
"""

from moreton.strangler.reporting.document import report_document
from moreton.strangler.reporting.markdown import as_markdown
from moreton.strangler.reporting.page import as_page
from moreton.strangler.reporting.plots import as_picture
from moreton.strangler.reporting.story import Accepted, Found, Report, tell

__all__ = [
    "Accepted",
    "Found",
    "Report",
    "as_markdown",
    "as_page",
    "as_picture",
    "report_document",
    "tell",
]
