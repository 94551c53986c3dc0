"""Measure speed, memory and accuracy beside other tools: `make bench`, or `run.py [PART...] [--markdown]`.

Prints one table per part; what is being run goes to stderr. The machine should have nothing else to do.
"""

import argparse
import os
import platform
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import accuracy
import speed
from measure import find_data
from section import Section

PARTS: dict[str, Callable[[Path, Path, int], list[Section]]] = {
    "whole": lambda scratch, _, repeats: [speed.whole_run(scratch, repeats)],
    "stages": speed.stages_and_peers,
    "accuracy": lambda scratch, _, __: [accuracy.complete_journey(scratch)],
    "windows": lambda scratch, _, __: [accuracy.windows(scratch)],
    "retailrocket": lambda scratch, _, __: [accuracy.retailrocket(scratch)],
}
PACKAGES = ("ecbehave", "polars", "lightgbm", "duckdb", "pandas", "implicit")


def main() -> None:
    """Run the parts that were asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; by default all")
    parser.add_argument("--markdown", action="store_true", help="print Markdown")
    parser.add_argument("--repeats", type=int, default=3, help="runs behind each time; the median counts")
    asked = parser.parse_args()
    if unknown := [p for p in asked.parts if p not in PARTS]:
        parser.error(f"unknown part {unknown[0]}; choose from {', '.join(PARTS)}")
    with tempfile.TemporaryDirectory(prefix="ecbehave-bench-") as folder:
        scratch = Path(folder)
        data = find_data(scratch)
        os.environ["ECBEHAVE_DATA"] = str(data)
        print(_about(), flush=True)
        for name in asked.parts or PARTS:
            if name == "retailrocket" and not (data / "retailrocket-buyers").is_dir():
                print(f"\n{name}: left out, its data is not in {data}")
                continue
            print(f"{name}:", file=sys.stderr, flush=True)
            for section in PARTS[name](scratch, data, asked.repeats):
                print(f"\n{section.text(markdown=asked.markdown)}", flush=True)


def _about() -> str:
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    load = os.getloadavg()[0]
    return (
        f"{os.cpu_count()} cores ({platform.machine()}), load {load:.1f} at the start, "
        f"Python {platform.python_version()}, {packages}"
    )


if __name__ == "__main__":
    main()
