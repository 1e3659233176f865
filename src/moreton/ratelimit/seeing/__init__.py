"""What limits decided, and about whom: counted where it happens, in bounded memory.

Guards note every decision in the `TALLY` of their process. From there it goes to Prometheus or
OpenTelemetry (`seeing.telemetry`), and in small reports to the control plane (`seeing.reporter`),
which shows who asked most in the last minute: `moreton limits top`.
"""

from moreton.ratelimit.seeing.tally import TALLY, Tally, Verdict

__all__ = ["TALLY", "Tally", "Verdict"]
