"""The files of a folder, each with a domain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from moreton.config import ConfigRefused, Fault
from moreton.config.document import compose, files_of
from moreton.ratelimit.rls.core.tree import Node
from moreton.ratelimit.rls.imports.descriptors import read_domain
from moreton.ratelimit.rls.imports.nodes import PREVENTS, Reader


@dataclass(frozen=True, slots=True)
class Imported:
    """The descriptors of every domain, and *notes* on what is perhaps not meant."""

    domains: Mapping[str, Node]
    notes: Sequence[Fault]


def load(path: Path, *, merge: bool = False) -> Imported:
    """Read the configuration of envoyproxy/ratelimit at *path*: a file, or a folder of `*.yaml`.

    A domain is in one file, unless *merge*. Raises `ConfigRefused` with every fault.
    """
    domains: dict[str, Node] = {}
    sources: dict[str, str] = {}
    faults: list[Fault] = []
    notes: list[Fault] = []
    for file in files_of(path):
        try:
            root = compose(file)
        except ConfigRefused as refused:
            faults += refused.faults
            continue
        if root is None:
            faults.append(Fault(f"{file.name} is empty", "write its domain", None, PREVENTS))
            continue
        reader = Reader(file.name)
        domain, node = read_domain(reader, root)
        if domain in domains:
            node = _joined(reader, domain, domains[domain], node, sources[domain], merge=merge)
        domains[domain] = node
        sources.setdefault(domain, file.name)
        faults += reader.faults
        notes += reader.notes
    if faults:
        raise ConfigRefused(faults)
    return Imported(domains, tuple(notes))


def _joined(
    reader: Reader, domain: str, one: Node, other: Node, first: str, *, merge: bool
) -> Node:
    if not merge:
        what = f"the domain {domain!r} is in {first} and in {reader.file}"
        todo = "put them into one file, or serve with --merge-domains"
        reader.faults.append(Fault(what, todo, None, PREVENTS))
        return one
    twice = sorted(set(one.children) & set(other.children))
    for name in twice:
        what = f"the descriptor {name!r} of {domain!r} is in {first} and in {reader.file}"
        reader.faults.append(Fault(what, "keep one of them", None, PREVENTS))
    return Node({**one.children, **other.children}, (*one.wildcards, *other.wildcards))
