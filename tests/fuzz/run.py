"""Fuzzes one target, guided by what its inputs reach: `python run.py TARGET SECONDS FOLDER`.

TARGET is a module of this folder. FOLDER keeps the inputs that reached something new, and the one
that failed; they are begun from the next time.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import atheris

# Longer inputs reach nothing that shorter ones do not.
INPUT_BYTES_MAX = 2048


def main() -> None:
    name, seconds, folder = sys.argv[1:]
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    with atheris.instrument_imports(include=["moreton.registry", "dns.message", "dns.name"]):
        module = importlib.import_module(f"fuzz.{name}")
    corpus = Path(folder) / name
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(module.seeds()):
        (corpus / f"seed-{number}").write_bytes(seed)
    options = [
        f"-max_total_time={seconds}",
        f"-max_len={INPUT_BYTES_MAX}",
        f"-artifact_prefix={folder}/{name}-",
        "-verbosity=0",
        "-print_final_stats=1",
    ]
    atheris.Setup([sys.argv[0], *options, str(corpus)], module.Target())
    atheris.Fuzz()


if __name__ == "__main__":
    main()
