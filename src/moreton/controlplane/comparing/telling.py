"""A collector's conversation with the control plane: it lives, and asks what there is to do."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from typing import Any

from moreton.kernel.errors import MoretonError
from moreton.strangler.compare.core.documents import counts_document, task_from
from moreton.strangler.compare.serving.collector import Collector

_LOG = logging.getLogger("moreton.compare")


class Teller:
    """Tells of *collector* by *call*, which posts a document and returns the answer's."""

    def __init__(self, collector: Collector, call: Callable[[object], Any]) -> None:
        self._collector = collector
        self._call = call
        self._run = uuid.uuid4().hex
        self._is_heard = True

    def tell(self) -> None:
        """Once: without an answer the collector goes on with what it was told last."""
        counts = counts_document(self._collector.counts())
        try:
            found = self._call({"run": self._run, "counts": counts})
            tasks = [task_from(one) for one in found]
        except (MoretonError, KeyError, TypeError, ValueError) as error:
            if self._is_heard:
                _LOG.warning("the control plane does not hear this collector: %s", error)
            self._is_heard = False
            return
        if not self._is_heard:
            _LOG.info("the control plane hears this collector")
        self._is_heard = True
        self._collector.follow({task.live.route: task for task in tasks})
