"""Run a command and report its seconds and peak resident memory: `launcher.py RESULT.json COMMAND...`.

This process is small on purpose. Linux counts the memory of the process that starts a program into the peak of
that program, so that a large parent would be measured instead of its child.
"""

import json
import os
import subprocess
import sys
import time

result, *command = sys.argv[1:]
started = time.perf_counter()
child = subprocess.Popen(command)
_, status, usage = os.wait4(child.pid, 0)
measured = {
    "seconds": time.perf_counter() - started,
    "peak_bytes": usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
}
with open(result, "w", encoding="utf-8") as file:  # noqa: PTH123 - pathlib would only add weight
    json.dump(measured, file)
sys.exit(os.waitstatus_to_exitcode(status))
