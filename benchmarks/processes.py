"""What a command costs: wall time, peak resident memory, and peak anonymous memory (which counts no mapped files)."""

import os
import subprocess
import time
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
    """Run a command to its end; anonymous memory is read every `interval` seconds.

    Raises:
        RuntimeError: the command failed.
    """
    begin = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    anonymous = 0
    while True:
        finished, status, usage = os.wait4(process.pid, os.WNOHANG)
        if finished:
            break
        anonymous = max(anonymous, _anonymous(process.pid))
        time.sleep(interval)
    seconds = time.perf_counter() - begin
    errors = b"" if process.stderr is None else process.stderr.read()
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed: {errors.decode()[-2000:]}")
    return Cost(seconds, usage.ru_maxrss / 1024, anonymous / 1024)


def _anonymous(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon")), 0)
