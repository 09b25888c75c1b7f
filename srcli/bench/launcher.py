"""Starts a command from a small process, and says how long it took and how much memory.

A process counts the memory of the one that started it as its own peak, for it begins as a copy.
So this one stands between a benchmark, which is large, and the command that is measured. Run by its
path, on an interpreter without site packages; it imports nothing that is not needed.

``launcher.py COMMAND...`` prints ``seconds peak_bytes exit_code`` on stdout, ``-`` for what the
system does not say; what the command prints goes to stderr.
"""

import os
import subprocess
import sys
import time


def main(command: list[str]) -> None:
    """Run it and say what it took."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=2)
    peak = "-"
    if hasattr(os, "wait4"):
        _, status, usage = os.wait4(process.pid, 0)
        code = os.waitstatus_to_exitcode(status)
        peak = str(usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024))
    else:
        code = process.wait()
    print(time.perf_counter() - started, peak, code)  # noqa: T201 - to the process that asked


if __name__ == "__main__":
    main(sys.argv[1:])
