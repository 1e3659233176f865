"""Files of descriptors that change while they are served: the last good ones keep serving."""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from moreton.config import ConfigRefused, Fault
from moreton.config.document import Document, files_of, load_document
from moreton.ratelimit.rls.core.tree import Away, Node
from moreton.ratelimit.rls.imports import load
from moreton.ratelimit.rls.stores import Store

if TYPE_CHECKING:
    from moreton.ratelimit.rls.exact import ExactRules

_log = logging.getLogger("moreton.ratelimit")
Seen = tuple[tuple[str, int, int], ...]


@dataclass(slots=True)
class Followed:
    """The descriptors of *path*; *loaded* counts how often they were, *refused* how often not.

    Without a path there are none.
    """

    path: Path | None
    merge: bool = False
    away: Away | None = None
    loaded: int = 0
    refused: int = 0
    _seen: Seen = ()

    def read(self) -> Mapping[str, Node]:
        """The domains of the files as they are; raises `ConfigRefused`."""
        if self.path is None:
            return {}
        self._seen = _seen(self.path)
        imported = load(self.path, merge=self.merge)
        for note in imported.notes:
            _log.warning("%s", note)
        self.loaded += 1
        if self.away is None:
            return imported.domains
        return {name: _with_away(node, self.away) for name, node in imported.domains.items()}

    def read_if_changed(self) -> Mapping[str, Node] | None:
        """As `read`, when a file is another one than before; `None` for what is refused, too."""
        if self.path is None or _seen(self.path) == self._seen:
            return None
        try:
            domains = self.read()
        except ConfigRefused as refused:
            self.refused += 1
            for fault in refused.faults:
                _log.error("%s; the descriptors of before are served", fault)
            return None
        _log.warning("the descriptors of %s are served as they are now", self.path)
        return domains


@dataclass(slots=True)
class FollowedRules:
    """The rules of *path*, a `moreton.yaml` or a folder, that gateways ask for.

    Only its sections about limits are looked at. What was good last is kept in the file
    *last_good*, where there is to be one, for a process that begins while *path* is bad.
    """

    path: Path
    store: Store
    last_good: Path | None = None
    refused: int = 0
    loaded: int = 0
    _seen: Seen = ()

    def read(self) -> ExactRules:
        """The rules as they are; raises `ConfigRefused`."""
        self._seen = _seen(self.path)
        document = load_document(self.path)
        found = self._rules(document)
        self.loaded += 1
        self._keep(document)
        return found

    def begin(self) -> ExactRules:
        """As `read`; while that is refused, the rules that were good last."""
        try:
            return self.read()
        except ConfigRefused as refused:
            found = self._kept()
            if found is None:
                raise
            self.refused += 1
            _log.error("%s; the rules that were good last are held", refused.faults[0])
            return found

    def _rules(self, document: Document) -> ExactRules:
        # Loaded late: who serves descriptors alone needs no models of rules.
        from moreton.ratelimit.config.loading import read_limits  # noqa: PLC0415 - as above
        from moreton.ratelimit.rls.exact import ExactRules  # noqa: PLC0415 - as above

        folder = self.path if self.path.is_dir() else self.path.parent
        found = ExactRules(read_limits(document, folder))
        for threshold in found.thresholds():
            if threshold.limit is None:
                continue
            try:
                self.store.check(threshold.limit)
            except TypeError as error:
                raise ConfigRefused([Fault(str(error), "take another limit")]) from error
        return found

    def _keep(self, document: Document) -> None:
        if self.last_good is None:
            return
        making = self.last_good.with_name(f"{self.last_good.name}.{os.getpid()}")
        try:
            making.touch(mode=0o600)  # it may hold keys of clients
            with making.open("w") as file:
                file.write(json.dumps(document.data, default=str))
                file.flush()
                os.fsync(file.fileno())  # else a machine that fails may leave an empty one
            making.replace(self.last_good)
        except OSError as error:
            with contextlib.suppress(OSError):
                making.unlink(missing_ok=True)
            _log.warning("the good rules cannot be kept in %s: %s", self.last_good, error)

    def _kept(self) -> ExactRules | None:
        if self.last_good is None or not self.last_good.is_file():
            return None
        try:
            document = load_document(self.last_good)
            # An empty one says of no rule that there is none.
            return self._rules(document) if document.data else None
        except ConfigRefused:
            return None

    def read_if_changed(self) -> ExactRules | None:
        """As `read`, when a file is another one than before; `None` for what is refused, too."""
        if _seen(self.path) == self._seen:
            return None
        try:
            found = self.read()
        except ConfigRefused as refused:
            self.refused += 1
            # The control plane tells its user of every fault; here it is enough to say so.
            _log.error("%s; the rules of before are held", refused.faults[0])
            return None
        _log.warning("the rules of %s are held as they are now", self.path)
        return found


def _with_away(node: Node, away: Away) -> Node:
    """*node* with what to do while the store is away."""
    threshold = node.threshold
    if threshold is not None:
        threshold = replace(threshold, away=away)
    children = {name: _with_away(child, away) for name, child in node.children.items()}
    return replace(node, threshold=threshold, children=children)


def _seen(path: Path) -> Seen:
    """What says that a file is another one: also one that a link leads to since."""
    found = []
    try:
        for file in files_of(path):
            about = file.stat()
            found.append((str(file), about.st_ino, about.st_mtime_ns))
    except (OSError, ConfigRefused):
        return ()
    return tuple(found)
