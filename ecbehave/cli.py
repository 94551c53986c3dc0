"""The command line: load the config, call the stage, print what came of it.

Nothing heavy is imported before a command runs, so that `--help` answers at once.
"""

import json
import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer

from ecbehave import __version__
from ecbehave.errors import ArtifactError, ConfigError, EcbehaveError, GateError, InterruptedRunError

if TYPE_CHECKING:
    from ecbehave.artifacts import Outcome
    from ecbehave.config import Config
    from ecbehave.config.file import Loaded
    from ecbehave.progress import Progress
    from ecbehave.stages import Context

STAGES = ("ingest", "clean", "features", "train", "evaluate", "predict")

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # plain lines under cron, and `--help` need not load rich
    pretty_exceptions_enable=False,
    help="Predict what a shop's users will do next - purchase, churn, preference - from the shop's own event logs.",
)
config_app = typer.Typer(no_args_is_help=True, help="Look at the configuration.")
app.add_typer(config_app, name="config")

ConfigPath = Annotated[Path, typer.Option("--config", "-c", metavar="FILE", help="The YAML file.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="A.B=VALUE", help="Replace one value of the config; repeatable."),
]
WorkspaceDir = Annotated[
    str | None, typer.Option("--workspace", metavar="DIR", help="Replace the config's workspace.")
]
Threads = Annotated[
    int | None, typer.Option("--threads", metavar="N", min=1, help="Cores to use; by default all.")
]
Memory = Annotated[str, typer.Option("--memory", metavar="SIZE", help="Memory to plan for, such as 4GB.")]
Force = Annotated[bool, typer.Option("--force", help="Run even if the result is up to date.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Errors only on stderr.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
LogFormat = Annotated[
    Literal["text", "json"], typer.Option("--log-format", help="Format of the lines on stderr.")
]
Wait = Annotated[
    str,
    typer.Option(
        "--wait", metavar="DURATION", help="How long to wait for another run on the same workspace."
    ),
]


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"ecbehave {__version__}")
        raise typer.Exit


@app.callback()
def _all_commands(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    """What stands before a command."""


def _cores() -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    # torchrun says how many processes it has started on this machine.
    return max(cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1")), 1)


def _stage_command(name: str, text: str) -> None:
    """Add a command; all of them take the same options."""

    def command(
        config: ConfigPath,
        overrides: Overrides = None,
        workspace: WorkspaceDir = None,
        threads: Threads = None,
        memory: Memory = "4GB",
        force: Force = False,
        quiet: Quiet = False,
        json_output: Json = False,
        log_format: LogFormat = "text",
        wait: Wait = "10m",
    ) -> None:
        _run(
            name,
            overrides=overrides,
            config=config,
            workspace=workspace,
            threads=threads or _cores(),
            memory=memory,
            force=force,
            quiet=quiet,
            json_output=json_output,
            log_format=log_format,
            wait=wait,
        )

    app.command(name, help=text)(command)


def _run(
    command: str,
    *,
    config: Path,
    overrides: list[str] | None,
    workspace: str | None,
    threads: int,
    memory: str,
    force: bool,
    quiet: bool,
    json_output: bool,
    log_format: Literal["text", "json"],
    wait: str,
) -> None:
    _use(threads)
    from ecbehave.stages import processes

    memory_bytes, wait_seconds = _size(memory), _seconds(wait)
    quiet = quiet or processes.is_follower()
    context = _context(config, overrides, workspace, threads, memory_bytes, force, quiet, log_format)
    with _said_plainly(context):
        processes.check(command, context.config)
        if processes.is_follower():
            _stage(command)(context)
            return
        results, gate = _stages(command, context, wait_seconds)
    with _to_stdout():
        _print(command, results, as_json=json_output)
    if gate:
        raise gate


def _use(threads: int) -> None:
    # Polars and OpenMP read the number of threads once, when they are loaded: here, by everything that follows.
    os.environ["POLARS_MAX_THREADS"] = os.environ["OMP_NUM_THREADS"] = str(threads)


def _context(
    config: Path,
    overrides: list[str] | None,
    workspace: str | None,
    threads: int,
    memory_bytes: int,
    force: bool,
    quiet: bool,
    log_format: Literal["text", "json"],
) -> "Context":
    """Load a config, and refuse a model that does not serve the task."""
    from ecbehave.artifacts import Workspace
    from ecbehave.progress import make_progress
    from ecbehave.stages import Context, tuning
    from ecbehave.stages.features import input_types

    loaded = _load(config, overrides, workspace)
    context = Context(
        config=loaded.config,
        public=loaded.public,
        workspace=Workspace(Path(loaded.config.workspace)),
        progress=make_progress(log_format=log_format, quiet=quiet, masked=loaded.masked),
        threads=threads,
        memory_bytes=memory_bytes,
        config_file=str(config),
        force=force,
        masked=loaded.masked,
    )
    with _said_plainly(context):
        input_types(context)
        tuning.check(context)
    return context


@contextmanager
def _said_plainly(*contexts: "Context") -> Iterator[None]:
    """Keep secrets out of errors, and turn Ctrl-C into one."""
    try:
        yield
    except KeyboardInterrupt:
        raise InterruptedRunError(
            "interrupted; nothing half-done was published. Run again to go on"
        ) from None
    except EcbehaveError as error:
        for context in contexts:
            error.args = (context.masked(str(error)),)
        raise


@contextmanager
def _to_stdout() -> Iterator[None]:
    """Print the result, or say that it cannot be."""
    try:
        yield
        sys.stdout.flush()
    except OSError as error:
        sys.stdout = None  # the interpreter would try once more at its end
        raise ArtifactError(f"the result cannot be written to stdout ({error.strerror})") from error


def _stages(
    command: str, context: "Context", wait_seconds: float
) -> "tuple[list[dict[str, Any]], GateError | None]":
    """Run a command's stages under the workspace's lock, up to a gate that stops them."""
    results: list[dict[str, Any]] = []
    with context.workspace.lock(f"ecbehave {command}", wait_seconds, context.progress.say):
        for stage in STAGES if command == "run" else (command,):
            started = time.monotonic()
            outcome, gate = _through_gate(_stage(stage), context)
            results.append(_result(stage, outcome, time.monotonic() - started))
            if gate:
                return results, gate
    return results, None


def _through_gate(stage: Any, context: "Context") -> "tuple[Outcome, GateError | None]":
    """Run a stage; a model that a quality gate stops has been evaluated all the same."""
    try:
        return stage(context), None
    except GateError as gate:
        return cast("Outcome", gate.outcome), gate


def _load(config: Path, overrides: list[str] | None, workspace: str | None) -> "Loaded[Config]":
    from ecbehave.config.file import load
    from ecbehave.models import config_class

    return load(config, config_class(), overrides or [], workspace)


def _stage(name: str) -> Any:
    from importlib import import_module

    return import_module(f"ecbehave.stages.{name}").run


def _result(stage: str, outcome: "Outcome", seconds: float) -> dict[str, Any]:
    """Return what one stage came to, as it is printed by `--json`."""
    from ecbehave.artifacts import peak_memory_bytes

    artifact = outcome.artifact
    result: dict[str, Any] = {
        "command": stage,
        "status": outcome.status,
        "artifact": str(artifact.path),
        "fingerprint": artifact.fingerprint,
        "rows": artifact.rows,
        "counts": artifact.counts,
        "seconds": round(seconds, 3),
        "peak_memory_bytes": peak_memory_bytes(),
    }
    if stage == "evaluate":
        stored = _metrics(artifact.path / "metrics.json")
        result |= {
            "verdict": stored["verdict"],
            "metrics": stored["metrics"],
            "baseline": stored["baseline_metrics"],
        }
        result |= {"difference": stored["difference"], "report": str(artifact.path / "report.html")}
    if stage == "predict":
        result["path"] = str(artifact.path / "scores.parquet")
    return result


def _metrics(path: Path) -> dict[str, Any]:
    try:
        stored: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path} cannot be read ({error}); make it again with --force") from error
    return stored


def _print(command: str, results: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(results[0] if command != "run" else _whole(results), ensure_ascii=False))
        return
    for r in results:
        rows = f"{r['rows']:>12,} rows" if r["rows"] else " " * 17
        print(f"{r['command']:<9} {r['status']:<8} {rows} {r['seconds']:>8.1f} s   {r['artifact']}")
    for r in results:
        if "verdict" in r:
            print(r["verdict"]["text"])
            print(f"report: {r['report']}")
        if "path" in r:
            print(f"scores: {r['path']}")


def _whole(results: list[dict[str, Any]]) -> dict[str, Any]:
    last = {
        k: v
        for r in results
        for k, v in r.items()
        if k in ("verdict", "metrics", "baseline", "difference", "report", "path")
    }
    return {
        "command": "run",
        "status": "done" if any(r["status"] == "done" for r in results) else "skipped",
        "artifact": results[-1]["artifact"],
        "fingerprint": results[-1]["fingerprint"],
        "rows": results[-1]["rows"],
        "seconds": round(sum(r["seconds"] for r in results), 3),
        "peak_memory_bytes": results[-1]["peak_memory_bytes"],
        "stages": results,
    } | last


def _size(text: str) -> int:
    """Read a size such as 4GB, in bytes."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(?:([kMGT])i?B?|B)", text.strip(), flags=re.IGNORECASE)
    if match is None:
        raise ConfigError(f"--memory takes a size such as 4GB or 512MB, not {text!r}")
    power = " KMGT".index((match[2] or " ").upper())
    return int(float(match[1]) * 1000**power)


def _seconds(text: str) -> float:
    from ecbehave.config.values import parse_duration

    if text in ("0", "0s"):
        return 0.0
    try:
        return parse_duration(text).total_seconds()
    except ValueError as error:
        raise ConfigError(f"--wait: {error}") from None


_stage_command("ingest", "Take new source files into the workspace, each once.")
_stage_command("clean", "Sort out the log: types, duplicates, refused rows, buckets.")
_stage_command("features", "Build what the model reads, for every split, with labels.")
_stage_command("train", "Fit the model, its calibration and its baseline.")
_stage_command("evaluate", "Judge the model on the test windows; write the report.")
_stage_command("predict", "Score everybody who is asked, as of the last complete day.")
_stage_command("run", "Do all that is stale, from ingest to predict.")


@app.command("compare")
def compare_command(
    configs: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Two YAML files or more.")],
    run: Annotated[
        bool, typer.Option("--run", help="Do first what is stale of each, from ingest to evaluate.")
    ] = False,
    resamples: Annotated[
        int, typer.Option("--resamples", metavar="N", min=100, help="Draws of users behind the intervals.")
    ] = 1_000,
    least: Annotated[
        float, typer.Option("--least", metavar="X", min=0, help="The smallest difference that counts.")
    ] = 0.001,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="A.B=VALUE", help="Replace one value of every config; repeatable."),
    ] = None,
    workspace: WorkspaceDir = None,
    threads: Threads = None,
    memory: Memory = "4GB",
    quiet: Quiet = False,
    json_output: Json = False,
    log_format: LogFormat = "text",
    wait: Wait = "10m",
) -> None:
    """Judge several models on the same test windows; name a winner only where the difference is real."""
    started, threads = time.monotonic(), threads or _cores()
    _use(threads)
    memory_bytes, wait_seconds = _size(memory), _seconds(wait)
    contexts = [
        _context(config, overrides, workspace, threads, memory_bytes, False, quiet, log_format)
        for config in configs
    ]

    from ecbehave.artifacts import peak_memory_bytes
    from ecbehave.report.comparison import table
    from ecbehave.stages.compare import check_apart, compare, entry_of

    with _said_plainly(*contexts):
        check_apart(contexts)
        entries = []
        for context in contexts:
            with context.workspace.lock("ecbehave compare", wait_seconds, context.progress.say):
                entries.append(entry_of(context, run=run))
        found = compare(entries, resamples, least)
    result = {
        "command": "compare",
        "status": "done",
        **found,
        "seconds": round(time.monotonic() - started, 3),
        "peak_memory_bytes": peak_memory_bytes(),
    }
    with _to_stdout():
        if json_output:
            print(json.dumps(result, ensure_ascii=False))
        else:
            _print_table(table(found))
            print(found["verdict"])


def _print_table(rows: list[list[str]]) -> None:
    """Draw a table for a person at a terminal; anything else gets plain lines."""
    if not sys.stdout.isatty():
        from ecbehave.report.comparison import aligned

        print("\n".join(aligned(rows)))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    header, *body = rows
    drawn = Table(*header)
    for row in body:
        drawn.add_row(*map(Text, row))
    Console().print(drawn)


@app.command("simulate")
def simulate_command(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="A new or an empty folder.")],
    users: Annotated[int, typer.Option("--users", metavar="N", help="Number of users.")],
    items: Annotated[int, typer.Option("--items", metavar="N", help="Number of items.")] = 2_000,
    days: Annotated[int, typer.Option("--days", metavar="N", help="Days of the log.")] = 180,
    start: Annotated[str, typer.Option("--start", metavar="DAY", help="First day, in UTC.")] = "2024-01-01",
    events_per_user: Annotated[
        float, typer.Option("--events-per-user", metavar="X", help="Mean events per user over the whole log.")
    ] = 50,
    seed: Annotated[int, typer.Option("--seed", metavar="S", help="Same seed, same bytes.")] = 0,
    output_format: Annotated[
        str, typer.Option("--format", metavar="FORMAT", help="parquet, csv or csv.gz.")
    ] = "parquet",
    days_per_file: Annotated[
        int | None,
        typer.Option("--days-per-file", metavar="N", help="By default, what makes 500,000 events."),
    ] = None,
    dirt: Annotated[
        float, typer.Option("--dirt", metavar="SHARE", help="Share of rows with something wrong.")
    ] = 0,
    threads: Threads = None,
    quiet: Quiet = False,
    json_output: Json = False,
    log_format: LogFormat = "text",
) -> None:
    """Write a made-up shop's log, with the true probabilities of purchase and churn."""
    threads = threads or _cores()
    os.environ["POLARS_MAX_THREADS"] = str(threads)

    from ecbehave.artifacts import peak_memory_bytes
    from ecbehave.progress import make_progress
    from ecbehave.simulate.settings import read_settings
    from ecbehave.simulate.writer import simulate

    settings = read_settings(
        start,
        output_format,
        users=users,
        items=items,
        days=days,
        events_per_user=events_per_user,
        seed=seed,
        days_per_file=days_per_file,
        dirt=dirt,
    )
    progress = make_progress(log_format=log_format, quiet=quiet)
    started = time.monotonic()
    try:
        with progress.track("simulate", round(users * events_per_user)) as advance:
            written = simulate(settings, out, threads, advance)
    except KeyboardInterrupt:
        raise InterruptedRunError("interrupted; nothing was written. Run again to start over") from None
    progress.say(
        f"simulate: {written.rows:,} events of {users:,} users in {written.files} file{'s' * (written.files != 1)}"
    )
    progress.say(f"simulate: the truth is in {out / 'truth'}")
    result = {
        "command": "simulate",
        "status": "done",
        "artifact": str(out),
        "rows": written.rows,
        "files": written.files,
        "event_types": written.event_types,
        "dirt": written.dirt,
        "seconds": round(time.monotonic() - started, 3),
        "peak_memory_bytes": peak_memory_bytes(),
    }
    _print("simulate", [result], as_json=json_output)


@config_app.command("show")
def config_show(config: ConfigPath, overrides: Overrides = None, workspace: WorkspaceDir = None) -> None:
    """Print the resolved config, defaults filled in and secrets left out."""
    from ecbehave.config.yaml import to_yaml

    print(to_yaml(_load(config, overrides, workspace).public), end="")


@config_app.command("schema")
def config_schema() -> None:
    """Print the JSON Schema of the YAML, for editors."""
    from ecbehave.config.reference import json_schema
    from ecbehave.models import config_class

    print(json.dumps(json_schema(config_class()), indent=2))


@config_app.command("features")
def config_features() -> None:
    """Print the catalogue of features, with units, formulas and what null means, as Markdown."""
    from ecbehave.inputs.feature_page import feature_page

    print(feature_page(), end="")


def _progress_of(arguments: list[str]) -> "Progress":
    """Return how errors are written, before the options have been read."""
    from ecbehave.progress import Progress

    return Progress("json" if re.search(r"--log-format[= ]json", " ".join(arguments)) else "text")


def main() -> None:
    """Run the command line; the exit code says what came of it."""
    try:
        app()
    except EcbehaveError as error:
        _progress_of(sys.argv).error(str(error))
        sys.exit(error.exit_code)
