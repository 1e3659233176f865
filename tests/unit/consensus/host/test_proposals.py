from __future__ import annotations

from datetime import timedelta

from moreton.consensus.host.proposals import Proposals
from moreton.consensus.host.replicated.commands import decode_batch
from moreton.consensus.host.settings import HostSettings
from moreton.kernel.time import Instant

NOW = Instant(0)
TIMEOUT = timedelta(seconds=10)


def proposals() -> Proposals:
    again = timedelta(seconds=1)
    return Proposals((1, 1), settings=HostSettings(), again_after=again)


async def test_command_that_was_applied_while_it_waited_for_another_try_is_not_given_again() -> (
    None
):
    made = proposals()
    answer = made.add(b"first", now=NOW, timeout=TIMEOUT)
    (data,) = made.take(NOW)
    ((number, _),) = decode_batch(data).commands
    made.give_again()  # another leader
    made.decide(number, "done")  # and yet the first try came through
    assert answer.result() == "done"
    assert list(made.take(NOW)) == []
    later = made.add(b"second", now=NOW, timeout=TIMEOUT)
    (data,) = made.take(NOW)
    assert [command for _, command in decode_batch(data).commands] == [b"second"]
    assert not later.done()
