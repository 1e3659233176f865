"""The troubles of the control plane itself."""

from __future__ import annotations

from pathlib import Path

from moreton.kernel.errors import MoretonError, RetryAdvice


class ControlPlaneError(MoretonError):
    """The root of the control plane's errors."""


class AlreadyRunning(ControlPlaneError):
    """Another control plane holds the state folder."""

    code = "already-running"

    def __init__(self, *, folder: Path, pid: int | None) -> None:
        self.folder = folder
        self.pid = pid
        who = "another process" if pid is None else f"process {pid}"
        stop = "" if pid is None else f" (kill {pid})"
        super().__init__(
            f"{who} runs `moreton up` with the state folder {folder}: two would disturb each "
            f"other, so this one stops; use the running one, or stop it first{stop}"
        )


class StateFolderUnusable(ControlPlaneError):
    """The state folder cannot be made, read or written."""

    code = "state-folder-unusable"

    def __init__(self, *, path: Path, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(
            f"{path} cannot be used, {reason}: the control plane has no place for its state; "
            "give this user the right to write there, or set controlplane.state to another folder"
        )


class PortInUse(ControlPlaneError):
    """An address of the control plane or of a gateway is taken."""

    code = "port-in-use"
    retry = RetryAdvice.AFTER

    def __init__(self, *, address: str, what: str, holder: str | None) -> None:
        self.address = address
        self.holder = holder
        by = "by another program" if holder is None else f"by {holder}"
        super().__init__(
            f"{address} is in use {by}: {what} cannot listen there; "
            "stop that program or choose another address"
        )


class AddressUnusable(ControlPlaneError):
    """An address that this machine does not let us listen on."""

    code = "address-unusable"

    def __init__(self, *, address: str, what: str, reason: str) -> None:
        self.address = address
        super().__init__(
            f"{what} cannot listen on {address}, {reason}: choose an address of this machine, and "
            "a port above 1023 unless you are root"
        )


class ApiNotLoopback(ControlPlaneError):
    """The API would be open to others without encryption."""

    code = "api-not-loopback"

    def __init__(self, *, address: str) -> None:
        self.address = address
        super().__init__(
            f"controlplane.api is {address}, which is not a loopback address, and has no TLS: "
            "its token would cross the network in the clear, so it is not started; "
            "write 127.0.0.1:7400, or give it a certificate and a key by controlplane.tls"
        )


class ConsulNotLoopback(ControlPlaneError):
    """Consul's API would be open to others without encryption."""

    code = "consul-not-loopback"

    def __init__(self, *, address: str) -> None:
        self.address = address
        super().__init__(
            f"consul.listen is {address}, which is not a loopback address, and has no TLS: its "
            "token would cross the network in the clear, so it is not started; "
            "write 127.0.0.1:8500, or give it a certificate and a key by consul.tls"
        )


class NotRunning(ControlPlaneError):
    """No control plane runs where the command looked."""

    code = "not-running"
    retry = RetryAdvice.AFTER

    def __init__(
        self, *, folder: Path, reason: str, starts: bool = False, died: bool = False
    ) -> None:
        self.folder = folder
        self.starts = starts  # there is one, and it does not answer yet
        self.died = died  # there was one, and it did not stop in order
        super().__init__(
            f"no control plane runs for {folder} ({reason}): the command has nobody to ask; "
            "start one with `moreton up`, or go to the folder of its moreton.yaml"
        )


class DefinedInFile(ControlPlaneError):
    """The API may not change what `moreton.yaml` defines."""

    code = "defined-in-file"

    def __init__(self, *, what: str, where: str) -> None:
        self.where = where
        super().__init__(
            f"{what} is defined in {where}, so the API does not change it; change it there "
            "(weights can be set by the API)"
        )


class UnknownObject(ControlPlaneError):
    """Nobody defines an object of that name."""

    code = "unknown-object"

    def __init__(self, *, what: str, similar: str = "", listing: str = "moreton status") -> None:
        hint = f"did you mean {similar}?" if similar else f"see `{listing}` for what there is"
        super().__init__(f"{what} is not defined, so there is nothing to show or change; {hint}")


class ObjectInUse(ControlPlaneError):
    """A service that routes still send to."""

    code = "object-in-use"

    def __init__(self, *, what: str, users: list[str]) -> None:
        self.users = users
        shown = ", ".join(users[:5]) + (f" and {len(users) - 5} more" if len(users) > 5 else "")
        super().__init__(
            f"{what} is used by {shown}: deleting it would break them; change or delete them first"
        )


class ObjectNotValid(ControlPlaneError):
    """An object that cannot be in force as it was put."""

    code = "object-not-valid"


class WeightsNotValid(ControlPlaneError):
    """Weights that do not fit the route's destinations."""

    code = "weights-not-valid"


class ChangeNotSeen(ControlPlaneError):
    """What was stored does not come back: this node has lost touch with the store."""

    code = "change-not-seen"
    retry = RetryAdvice.AFTER

    def __init__(self, *, revision: int, seen: int) -> None:
        super().__init__(
            f"the store is at revision {revision}, and this node has seen {seen} of it: the "
            "proxies go on with what they have; try again, or ask another node"
        )


class ChangesContended(ControlPlaneError):
    """Others changed something each time that a change was tried."""

    code = "changes-contended"
    retry = RetryAdvice.AFTER

    def __init__(self, *, attempts: int) -> None:
        super().__init__(
            f"others changed objects meanwhile, {attempts} times in a row: this change was not "
            "made; try again"
        )


class LastInstance(ControlPlaneError):
    """Nobody would be left to send requests to."""

    code = "last-instance"

    def __init__(self, *, service: str, instance_id: str, others: str = "") -> None:
        besides = f"; {others}" if others else ""
        super().__init__(
            f'instance "{instance_id}" is the last of service "{service}" that serves{besides}: '
            "without it every request would fail, so it goes on; start or repair another one "
            "first, or say --force (`force` in the API)"
        )


class LeavesByItself(ControlPlaneError):
    """A drain was to be taken back that nobody ordered."""

    code = "leaves-by-itself"

    def __init__(self, *, service: str, instance_id: str) -> None:
        super().__init__(
            f'instance "{instance_id}" of service "{service}" says itself that it is draining: '
            "no order can be taken back; its program was told to stop, so start it again"
        )


class NotApplied(ControlPlaneError):
    """The proxies did not confirm a change in time; it is stored and on its way."""

    code = "not-applied"
    retry = RetryAdvice.AFTER

    def __init__(self, *, what: str, status: str, seconds: float) -> None:
        super().__init__(
            f"{what} is stored but not in force after {seconds:g} s ({status}): the proxies still "
            "have what they had; look at `moreton status`"
        )


class Rejected(ControlPlaneError):
    """A proxy refused a change; its last good version stays in force."""

    code = "rejected"

    def __init__(self, *, what: str, reason: str) -> None:
        self.reason = reason
        super().__init__(
            f"{what} is stored but a proxy refused it ({reason}): what it had stays in force; "
            "correct the object and put it again"
        )


class DnsNotInstalled(ControlPlaneError):
    """The section `dns` needs a library that is not installed."""

    code = "dns-not-installed"

    def __init__(self) -> None:
        super().__init__(
            "the package dnspython is not installed: the section dns of moreton.yaml cannot be "
            "served; pip install 'moreton[dns]', or remove the section"
        )


class CommandsNotAllowed(ControlPlaneError):
    """A registration asks the control plane to run a command as a check."""

    code = "commands-not-allowed"

    def __init__(self, *, service: str) -> None:
        self.service = service
        super().__init__(
            f'a check of "{service}" is a command, and whoever may register could run anything '
            "here: not registered; write the check into moreton.yaml, or allow commands with "
            "controlplane.command_checks"
        )
