from __future__ import annotations

from pathlib import Path

import pytest

from moreton.controlplane.api.app import STATUSES
from moreton.controlplane.errors import ChangeNotSeen, ChangesContended
from moreton.controlplane.problems import error_response
from moreton.kernel.errors import MoretonError
from moreton.store.errors import RequestTooLarge, StoreFull
from moreton.store.etcd.errors import EtcdAnswerLost, EtcdUnreachable, EtcdWentBack
from moreton.store.raft.errors import NodeStopped


@pytest.mark.parametrize(
    "error",
    [
        EtcdUnreachable(endpoints=["10.0.0.1:2379"], reason="no route"),
        EtcdAnswerLost(endpoint="10.0.0.1:2379", reason="no answer"),
        EtcdWentBack(found=1, seen=9),
        NodeStopped(node=1, reason="its disk failed"),
        ChangeNotSeen(revision=9, seen=7),
        ChangesContended(attempts=16),
    ],
)
def test_what_is_wrong_with_the_store_is_not_the_clients_fault(error: MoretonError) -> None:
    answer = error_response(error, STATUSES)
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"


def test_what_the_client_can_change_or_the_operator_must_has_a_status_of_its_own() -> None:
    large = RequestTooLarge(found=9, limit=3, unit="bytes")
    assert error_response(large, STATUSES).status_code == 413
    assert error_response(StoreFull(path=Path("store.sqlite")), STATUSES).status_code == 507
