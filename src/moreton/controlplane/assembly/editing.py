"""Applies edits of `moreton.yaml`; a bad one is refused and the last good one goes on serving."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from moreton.config import ConfigRefused, Fault
from moreton.controlplane.assembly.plane import Plane
from moreton.controlplane.assembly.sources import check_beside_api
from moreton.controlplane.errors import AddressUnusable, PortInUse
from moreton.controlplane.ports import check_free
from moreton.controlplane.settings import Settings, load_settings

_LOG = logging.getLogger("moreton.controlplane")


class Editor:
    """Brings what is in the file in force, or says why not."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane

    async def on_edit(self) -> None:
        """The file changed: apply it whole, or refuse it whole."""
        plane = self._plane
        try:
            # In a thread, so that thousands of routes do not hold up an acknowledgement.
            settings = await asyncio.to_thread(load_settings, plane.settings.path)
            check_beside_api(settings, plane.desired)
            self._check_new_listeners(settings)
        except ConfigRefused as refused:
            plane.faults = [str(fault) for fault in refused.faults]
            for fault in plane.faults:
                _LOG.error("edit refused, the last good configuration goes on: %s", fault)
            plane.events.tell("configuration", {"applied": False, "faults": list(plane.faults)})
            return
        self._warn_of_restart(settings)
        count = plane.apply(settings)
        if plane.programs is not None:
            await plane.programs.replace(settings.runs)
        _LOG.info("edit of %s applied: %d objects change", settings.path, count)
        plane.events.tell("configuration", {"applied": True, "faults": [], "changes": count})
        for route in plane.desired.stale_weights():
            _LOG.warning("route %s has other destinations: the API's weights do not count", route)

    async def on_certificates(self) -> None:
        """Certificates or keys changed on disk."""
        _LOG.info("certificates changed on disk: served from now on")
        self._plane.refresh_secrets()

    def certificates(self) -> list[Path]:
        """The certificates and keys in use."""
        return [
            Path(file)
            for gateway in self._plane.settings.gateways.values()
            for listener in gateway.listeners
            if listener.tls is not None
            for file in (listener.tls.certificate, listener.tls.key)
        ]

    def _check_new_listeners(self, settings: Settings) -> None:
        before = {
            listener.address
            for gateway in self._plane.settings.gateways.values()
            for listener in gateway.listeners
        }
        faults = []
        for name, gateway in settings.gateways.items():
            for number, listener in enumerate(gateway.listeners):
                address = listener.address
                if address in before:
                    continue
                try:
                    check_free(address.host, address.port, what=f'gateway "{name}"')
                except (PortInUse, AddressUnusable) as error:
                    place = ("gateways", name, "listeners", number, "address")
                    where = settings.document.where(place)
                    what, _, todo = str(error).partition(": ")
                    faults.append(Fault(what, todo, where))
        if faults:
            raise ConfigRefused(faults)

    def _warn_of_restart(self, settings: Settings) -> None:
        before = self._plane.settings
        for section in ("controlplane", "envoy", "dns", "consul"):
            if getattr(before, section) != getattr(settings, section):
                _LOG.warning("the new %s section counts from the next `moreton up` on", section)
