"""Measure speed, memory and accuracy beside other tools: `make bench`, or `run.py [PART...] [--markdown]`.

Prints one table per part; what is being run goes to stderr. The machine should have nothing else to do.
"""

import argparse
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path

import ablation
import accuracy
import aggregates
import beauty
import boosting_cost
import calibration
import cf_als
import cf_ease
import cf_kinds
import cf_speed
import deep_beauty
import deep_diginetica
import diginetica
import ensemble_peers
import increment
import kinds
import large_net
import movielens
import neighbours
import nets
import nets_speed
import rerank
import scale
import speed
import synthesis
import tuning
from measure import Bench, find_data
from section import Section
from simulated import parse_sizes

PARTS: dict[str, Callable[[Bench], Iterable[Section]]] = {
    "whole": lambda bench: [speed.whole_run(bench.scratch, bench.repeats)],
    "stages": lambda bench: speed.stages_and_peers(bench.scratch, bench.data, bench.repeats),
    "accuracy": lambda bench: [accuracy.complete_journey(bench.scratch)],
    "windows": lambda bench: [accuracy.windows(bench.scratch)],
    "retailrocket": lambda bench: [accuracy.retailrocket(bench.scratch)],
    "scale": scale.sections,
    "aggregates": aggregates.sections,
    "increment": increment.sections,
    "featuretools": synthesis.sections,
    "ablation": ablation.sections,
    "kinds": kinds.sections,
    "autogluon": ensemble_peers.sections,
    "boosting": boosting_cost.sections,
    "calibration": calibration.sections,
    "rerank": rerank.sections,
    "tuning": tuning.sections,
    "cf": cf_kinds.sections,
    "beauty": beauty.sections,
    "deep_beauty": deep_beauty.sections,
    "deep_diginetica": deep_diginetica.sections,
    "nets": nets.sections,
    "pretraining": nets.pretraining,
    "large": large_net.sections,
    "recbole": nets_speed.sections,
    "recbole_best": nets_speed.until_best,
    "diginetica": diginetica.sections,
    "movielens": movielens.sections,
    "item_knn": cf_speed.sections,
    "user_knn": neighbours.sections,
    "als": cf_als.sections,
    "ease": cf_ease.sections,
}


PACKAGES = ("ecbehave", "polars", "lightgbm", "duckdb", "pandas", "implicit")


def main() -> None:
    """Run the parts that were asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; by default all")
    parser.add_argument("--markdown", action="store_true", help="print Markdown")
    parser.add_argument(
        "--repeats", type=int, default=3, help="runs behind each time; the median counts (deep_beauty: seeds)"
    )
    parser.add_argument(
        "--events",
        type=parse_sizes,
        metavar="N,...",
        help="sizes of simulated logs, such as 5M,20M,50M (scale, aggregates, increment, large), or the number of "
        "users to score (boosting); by default small ones",
    )
    parser.add_argument("--by-group", action="store_true", help="ablation: group by group, too (ten minutes)")
    parser.add_argument(
        "--kinds",
        type=_names,
        default=[],
        metavar="KIND,...",
        help="kinds, deep_beauty, deep_diginetica, recbole_best: only these kinds",
    )
    parser.add_argument(
        "--configs",
        type=_names,
        default=[],
        metavar="NAME,...",
        help="kinds, nets, pretraining: only these questions",
    )
    asked = parser.parse_args()
    if unknown := [p for p in asked.parts if p not in PARTS]:
        parser.error(f"unknown part {unknown[0]}; choose from {', '.join(PARTS)}")
    with tempfile.TemporaryDirectory(prefix="ecbehave-bench-") as folder:
        scratch = Path(folder)
        data = find_data(scratch)
        os.environ["ECBEHAVE_DATA"] = str(data)
        kinds, configs = tuple(asked.kinds), tuple(asked.configs)
        bench = Bench(scratch, data, asked.repeats, asked.events, asked.by_group, kinds, configs)
        print(_about(), flush=True)
        for name in asked.parts or PARTS:
            if name == "retailrocket" and not bench.has_retailrocket:
                print(f"\n{name}: left out, its data is not in {data}")
                continue
            print(f"{name}:", file=sys.stderr, flush=True)
            for section in PARTS[name](bench):
                print(f"\n{section.text(markdown=asked.markdown)}", flush=True)


def _names(text: str) -> list[str]:
    return text.split(",")


def _about() -> str:
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    load = os.getloadavg()[0]
    return (
        f"{os.cpu_count()} cores ({platform.machine()}), load {load:.1f} at the start, "
        f"Python {platform.python_version()}, {packages}"
    )


if __name__ == "__main__":
    main()
