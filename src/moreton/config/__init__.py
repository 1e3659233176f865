"""The configuration's loader: YAML with positions, faults with file, line and column.

It knows no section: each pattern has the models of its own, and `parse` holds any of them against
a document. All faults of a document are reported at once.
"""

from moreton.config.document import Document, Pointer, load_document
from moreton.config.faults import ConfigRefused, Fault, Location
from moreton.config.parsing import Duration, Name, Percentage, Section, faults_of, parse

__all__ = [
    "ConfigRefused",
    "Document",
    "Duration",
    "Fault",
    "Location",
    "Name",
    "Percentage",
    "Pointer",
    "Section",
    "faults_of",
    "load_document",
    "parse",
]
