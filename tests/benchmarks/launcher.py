"""Run a command and report its seconds and peak resident memory: `launcher.py RESULT.json COMMAND...`.

This process is small on purpose. Linux counts the memory of the process that starts a program into the peak of
that program, so that a large parent would be measured instead of its child.
"""

import json
import os
import subprocess
import sys
import threading
import time

PAUSE = 0.05
PAGE = os.sysconf("SC_PAGE_SIZE")


def resident(pid: int) -> int:
    """Return the bytes that a process and all its children have in memory; 0 where the system does not tell."""
    try:
        with open(f"/proc/{pid}/statm", encoding="ascii") as file:  # noqa: PTH123 - pathlib would only add weight
            total = int(file.read().split()[1]) * PAGE
        for thread in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208
            with open(f"/proc/{pid}/task/{thread}/children", encoding="ascii") as file:  # noqa: PTH123
                total += sum(resident(int(child)) for child in file.read().split())
    except OSError:  # it has ended, or there is no /proc
        return 0
    return total


def watch(pid: int, ended: threading.Event, seen: list[int]) -> None:
    """Note what the process and its children have in memory, again and again until it has ended."""
    while not ended.wait(PAUSE):
        seen.append(resident(pid))


result, *command = sys.argv[1:]
ended = threading.Event()
seen: list[int] = [0]
started = time.perf_counter()
child = subprocess.Popen(command)
watcher = threading.Thread(target=watch, args=(child.pid, ended, seen))
watcher.start()
_, status, usage = os.wait4(child.pid, 0)
seconds = time.perf_counter() - started
ended.set()
watcher.join()
peak_bytes = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
measured = {"seconds": seconds, "peak_bytes": peak_bytes, "tree_bytes": max(*seen, peak_bytes)}
with open(result, "w", encoding="utf-8") as file:  # noqa: PTH123 - pathlib would only add weight
    json.dump(measured, file)
sys.exit(os.waitstatus_to_exitcode(status))
