"""What is known of a service, in a file: for a program that starts while the registry is away."""

from __future__ import annotations

import contextlib
import json
import logging
import os
from pathlib import Path
from tempfile import mkstemp

from moreton.registry.core.documents import decode, to_document
from moreton.registry.discovery.core.known import Snapshot

_LOG = logging.getLogger("moreton.registry")
_VERSION = 1


class Copies:
    """One file a service in *folder*, which is made; replaced whole, so that none is half written.

    Several programs may share it: they know the same. Trouble with it is logged, once a kind, and
    never raised: a copy is a comfort, not a need.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._told: set[str] = set()

    def read(self, service: str) -> Snapshot | None:
        """What was known when it was written last; `None` if that is not to be had."""
        path = self._path(service)
        try:
            document = json.loads(path.read_bytes())
            if document["version"] != _VERSION or document["service"] != service:
                return None
            found = (decode(json.dumps(each).encode()) for each in document["instances"])
            instances = tuple(each for each in found if each is not None)
            return Snapshot(service, instances)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            self._tell("read", path, error)
            return None

    def write(self, snapshot: Snapshot) -> None:
        """Replace the copy of the service; what is in doubt is left out."""
        certain = [each for each in snapshot.instances if each.id not in snapshot.doubted]
        document = {
            "version": _VERSION,
            "service": snapshot.service,
            "instances": [to_document(each) for each in certain],
        }
        path = self._path(snapshot.service)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            handle, new = mkstemp(prefix=f".{snapshot.service}-", dir=self._folder)
            try:
                with os.fdopen(handle, "w") as file:
                    json.dump(document, file)
                Path(new).replace(path)
            except BaseException:
                with contextlib.suppress(OSError):
                    Path(new).unlink()
                raise
        except OSError as error:
            self._tell("written", path, error)

    def _path(self, service: str) -> Path:
        return self._folder / f"{service}.json"

    def _tell(self, done: str, path: Path, error: Exception) -> None:
        if done not in self._told:
            self._told.add(done)
            _LOG.warning(
                "the copy of what is known at %s cannot be %s (%s): a start while the registry is "
                "away will find nothing; correct the path or its permissions",
                path,
                done,
                error,
            )
