"""Asking a node from outside its cluster: as an operator, or before one joins."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

from moreton.consensus.errors import ConsensusError
from moreton.consensus.transport import (
    Credentials,
    PeerTls,
    TransportSettings,
    ask_as_guest,
)
from moreton.consensus.transport.errors import (
    AnswerLost,
    ClockApart,
    PeerUnreachable,
    QuestionFailed,
    TlsRefused,
    WrongSecret,
)
from moreton.kernel.time import Clock
from moreton.store.raft.core.questions import pack_question, read_answer
from moreton.store.raft.errors import (
    ClocksApart,
    ClusterRefused,
    NodeUnreachable,
    SecretRefused,
)
from moreton.store.raft.operating.administration import PART_BYTES

# A change of members waits for a majority, and is tried again while another leader is elected.
_ANSWER = timedelta(seconds=30)


class Guest:
    """Asks the node at *address*, and proves with *secret* that it may."""

    def __init__(
        self,
        address: str,
        secret: bytes,
        *,
        tls: PeerTls | None = None,
        clock: Clock | None = None,
        patience: timedelta = _ANSWER,
    ) -> None:
        self.address = address
        # What the cluster is called need not be known: the secret is what counts.
        self._credentials = Credentials("guest", secret, tls)
        self._clock = clock
        self._settings = TransportSettings(answer_timeout=patience)
        self.clock_trouble: ClockApart | None = None

    async def ask(self, do: str, **values: object) -> dict[str, Any]:
        """What came of the question to *do* something.

        Raises the error that the node answered with, `NodeUnreachable`, `SecretRefused`.
        """
        return read_answer(await self._ask(pack_question(do, **values)))

    async def check_clock(self) -> None:
        """Raises `ClocksApart` if the node's calendar time is minutes from ours."""
        await self.ask("status")
        if self.clock_trouble is not None:
            seconds = self.clock_trouble.seconds
            raise ClocksApart(address=self.address, seconds=seconds)

    async def parts(self, token: str, size: int) -> AsyncIterator[bytes]:
        """The snapshot that the node holds under *token*, in order."""
        for number in range(-(-size // PART_BYTES)):
            answer = await self._ask(pack_question("part", token=token, number=number))
            if answer[:1] != b"+":
                read_answer(answer)
            yield answer[1:]

    async def _ask(self, question: bytes) -> bytes:
        try:
            return await ask_as_guest(
                self.address,
                self._credentials,
                question,
                settings=self._settings,
                clock=self._clock,
                report=self._note,
            )
        except WrongSecret as error:
            raise SecretRefused(address=self.address) from error
        except PeerUnreachable as error:
            raise NodeUnreachable(address=self.address, reason=error.reason) from error
        except TlsRefused as error:
            raise NodeUnreachable(address=self.address, reason=str(error)) from error
        except (AnswerLost, QuestionFailed) as error:
            raise ClusterRefused(cause=error.code, says=str(error)) from error

    def _note(self, trouble: ConsensusError) -> None:
        if isinstance(trouble, ClockApart):
            self.clock_trouble = trouble
