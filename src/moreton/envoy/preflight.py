"""Whether an Envoy would take a configuration, asked of one that is started for it alone."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from moreton.envoy.process.ending import plain_reason, reason_in
from moreton.kernel.errors import MoretonError, RetryAdvice

# A check of 5,000 routes takes 0.3 s of one core and 60 MB.
_PARALLEL_MAX = 2
_TIME_MAX = timedelta(seconds=30)
# Envoy 1.40 dies of SIGSEGV in about one check of 500 on a busy machine, whatever it is asked.
_DEATHS_MAX = 3
_ERROR = "error initializing configuration "


class PreflightFailed(MoretonError):
    """Whether Envoy would take a configuration could not be found out."""

    code = "preflight-failed"
    retry = RetryAdvice.AFTER


class Preflight:
    """`envoy --mode validate` of *binary*: at most *parallel_max* at a time, *time_max* each."""

    def __init__(
        self, binary: Path, *, parallel_max: int = _PARALLEL_MAX, time_max: timedelta = _TIME_MAX
    ) -> None:
        self._binary = binary
        self._seconds = time_max.total_seconds()
        self._slots = asyncio.Semaphore(parallel_max)

    async def __call__(self, bootstrap: bytes) -> str:
        """Why Envoy refuses the static *bootstrap* (JSON or serialised); empty when it takes it.

        About 0.1 s. An Envoy that dies says nothing of the configuration, so that it is asked
        again; one that it always dies of is refused. Raises `PreflightFailed` when Envoy cannot be
        asked or does not answer in time.
        """
        async with self._slots:
            try:
                with TemporaryDirectory(prefix="moreton-check-") as folder:
                    file = Path(folder) / ("check.json" if bootstrap[:1] == b"{" else "check.pb")
                    file.write_bytes(bootstrap)
                    return await self._ask(file)
            except OSError as error:
                reason = (error.strerror or str(error)).lower()
                raise PreflightFailed(
                    f"the temporary folder cannot be used, {reason}: the configuration was not "
                    "checked; make room there, or set TMPDIR to another"
                ) from error

    async def _ask(self, file: Path) -> str:
        for _ in range(_DEATHS_MAX):
            status, output = await self._run(file)
            if status == 0:
                return ""
            if status > 0 or _ERROR in output:
                return refusal_in(output)
        name = signal.Signals(-status).name
        return f"Envoy dies of {name} whenever it reads it, {_DEATHS_MAX} times of {_DEATHS_MAX}"

    async def _run(self, file: Path) -> tuple[int, str]:
        try:
            process = await asyncio.create_subprocess_exec(
                *(str(self._binary), "--mode", "validate", "-c", str(file)),
                *("--log-level", "error", "--disable-hot-restart"),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
        except OSError as error:
            raise PreflightFailed(
                f"{self._binary} cannot be run, {error.strerror}: the configuration was not "
                "checked; see `moreton doctor`"
            ) from error
        try:
            async with asyncio.timeout(self._seconds):
                output, _ = await process.communicate()
        except TimeoutError as error:
            raise PreflightFailed(
                f"Envoy did not say within {self._seconds:g} s whether it takes the configuration: "
                "it was not checked; the machine may be busy, so try again"
            ) from error
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        assert process.returncode is not None
        return process.returncode, output.decode(errors="replace")


def refusal_in(output: str) -> str:
    """The sentence in the *output* of `--mode validate` that says why."""
    _, found, rest = output.partition(_ERROR)
    if found:  # 'FILE': REASON
        return plain_reason(rest.partition("': ")[2] or rest)
    return reason_in(output) or "it gives no reason"
