"""What a command costs: wall time, peak resident memory, and peak anonymous memory (which counts no mapped files)."""

import subprocess
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

MIB = 2**20


@dataclass(frozen=True)
class Cost:
    """Seconds, and MiB at their peak."""

    seconds: float
    resident: float
    anonymous: float


def run_measured(command: list[str], interval: float = 0.01) -> Cost:
    """Run a command to its end; its memory is read every `interval` seconds.

    The peak that wait4 reports would not do: it counts the process that started this one, as it was at the start.

    Raises:
        RuntimeError: the command failed.
    """
    begin = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    resident, anonymous = 0, 0
    while process.poll() is None:
        status = _status(process.pid)
        # VmHWM is a peak already; RssAnon has none of its own.
        resident, anonymous = max(resident, status["VmHWM"]), max(anonymous, status["RssAnon"])
        time.sleep(interval)
    seconds = time.perf_counter() - begin
    errors = b"" if process.stderr is None else process.stderr.read()
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed: {errors.decode()[-2000:]}")
    return Cost(seconds, resident / 1024, anonymous / 1024)


def _status(pid: int) -> Counter[str]:
    """KiB by name; 0 where the process has just ended."""
    found: Counter[str] = Counter()
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return found
    for line in lines:
        name, _, value = line.partition(":")
        if name in ("VmHWM", "RssAnon"):
            found[name] = int(value.split()[0])
    return found
