"""What is seen while a stage runs: on stderr only, as the reader wants it."""

import json
import os
import pty
import re
import subprocess
import sys
import textwrap
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from shops import Shop

from ecbehave.progress import Progress, in_words, make_progress

HELLO = "ümläut «3 rows» [bold]not markup[/bold]"


def test_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    progress = make_progress(log_format="text", quiet=False)
    progress.say(HELLO)
    progress.error("it broke\nin two lines")
    assert capsys.readouterr() == ("", f"{HELLO}\nerror: it broke\nin two lines\n")


def test_json_lines(capsys: pytest.CaptureFixture[str]) -> None:
    progress = make_progress(log_format="json", quiet=False)
    progress.say(HELLO)
    progress.error("it broke\nin two lines")
    output, errors = capsys.readouterr()
    assert output == ""
    lines = [json.loads(line) for line in errors.splitlines()]
    assert [list(line) for line in lines] == [["time", "level", "message"]] * 2
    assert [(line["level"], line["message"]) for line in lines] == [
        ("info", HELLO),
        ("error", "it broke\nin two lines"),
    ]
    for line in lines:
        age = datetime.now(UTC) - datetime.fromisoformat(line["time"])
        assert timedelta(0) <= age < timedelta(minutes=5)
        assert line["time"].endswith("+00:00")


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_quiet_leaves_errors_only(capsys: pytest.CaptureFixture[str], log_format: str) -> None:
    progress = make_progress(log_format=log_format, quiet=True)  # type: ignore[arg-type]
    progress.say(HELLO)
    with progress.track("work", 2) as advance:
        advance(2)
    assert capsys.readouterr() == ("", "")
    progress.error("it broke")
    output, errors = capsys.readouterr()
    assert output == ""
    assert errors.count("it broke") == 1


def test_logs_get_no_bar(capsys: pytest.CaptureFixture[str]) -> None:
    progress = make_progress(log_format="text", quiet=False)
    assert type(progress) is Progress
    with progress.track("work", 2) as advance:
        advance(1)
        advance(1)
    assert capsys.readouterr() == ("", "")


def test_long_work_says_where_it_is_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    progress = make_progress(log_format="text", quiet=False)
    with progress.follow("train", seconds=0) as show:
        show(0.1, "a step", False)
        show(0.5, "epoch 1", True)
    with progress.follow("train", seconds=60) as show:
        show(0.5, "too soon", True)
        show(1.0, "the last one", True)
    assert capsys.readouterr() == ("", "train: epoch 1\ntrain: the last one\n")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "1 s"), (40.4, "40 s"), (89.6, "90 s"), (720, "12 min"), (5400, "1.5 h"), (36_000, "10.0 h")],
)
def test_time_in_words(seconds: float, text: str) -> None:
    assert in_words(seconds) == text


# A person at a terminal.


def seen_at_terminal(*arguments: str) -> tuple[str, str]:
    """Run Python with stderr at a pseudo-terminal and stdout in a pipe; return what came out of both."""
    reader, writer = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "100"}
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "CI"):
        environment.pop(name, None)
    process = subprocess.Popen(
        [sys.executable, *arguments], stdout=subprocess.PIPE, stderr=writer, env=environment
    )
    os.close(writer)
    seen = b""
    with suppress(OSError):  # so Linux says that the other end is closed
        while part := os.read(reader, 65536):
            seen += part
    os.close(reader)
    output, _ = process.communicate()
    assert process.returncode == 0, seen
    return output.decode(), seen.decode()


def without_codes(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "", text)


SHOW = """
from ecbehave.progress import make_progress
progress = make_progress(log_format={log_format!r}, quiet={quiet})
print(type(progress).__name__)
with progress.track("clean: buckets", 3) as advance:
    for _ in range(3):
        advance(1)
        progress.say({hello!r})
progress.error("it broke")
"""


def show(log_format: str, *, quiet: bool) -> tuple[str, str]:
    return seen_at_terminal(
        "-c", textwrap.dedent(SHOW.format(log_format=log_format, quiet=quiet, hello=HELLO))
    )


def test_a_terminal_gets_a_bar_on_stderr() -> None:
    output, seen = show("text", quiet=False)
    assert output == "TerminalProgress\n"
    lines = without_codes(seen)
    assert "clean: buckets" in lines
    assert re.search(r"━+ [0-3]/3 0:00:0\d", lines)
    assert lines.count(HELLO) == 3
    assert lines.endswith("error: it broke\n")
    assert "\x1b[?25h" in seen  # the cursor is shown again


def test_the_bar_is_taken_away() -> None:
    """The last thing after the bar's last drawing erases its line."""
    _, seen = show("text", quiet=False)
    last_bar = seen.rindex("clean: buckets")
    assert "\x1b[2K" in seen[last_bar:]


FOLLOW = """
import time
from ecbehave.progress import make_progress
progress = make_progress(log_format="text", quiet=False)
with progress.track("train", 2) as advance:
    with progress.follow("train") as show:
        show(0.25, "epoch 1 of 4 [b]", True)
        time.sleep(0.3)
    with progress.follow("train again") as show:
        show(1.0, "epoch 4 of 4", True)
        time.sleep(0.3)
    advance(2)
    time.sleep(0.3)
"""


def test_a_bar_with_words_stands_beside_the_one_around_it() -> None:
    _, seen = seen_at_terminal("-c", textwrap.dedent(FOLLOW))
    lines = without_codes(seen)
    assert re.search(r"25/100 0:00:0\d epoch 1 of 4 \[b\]", lines)
    assert re.search(r"100/100 0:00:0\d epoch 4 of 4", lines)
    assert re.search(r"2/2 0:00:0\d", lines)
    assert "train: epoch" not in lines, "no lines where there is a bar"


@pytest.mark.parametrize(("log_format", "quiet"), [("json", False), ("text", True), ("json", True)])
def test_a_terminal_gets_no_bar_where_none_is_wanted(log_format: str, quiet: bool) -> None:
    output, seen = show(log_format, quiet=quiet)
    assert output == "Progress\n"
    assert "\x1b" not in seen
    assert "buckets" not in seen
    assert seen.count("[bold]") == (0 if quiet else 3)


def test_a_bar_stops_when_the_work_fails() -> None:
    script = """
        import sys
        from ecbehave.progress import make_progress
        try:
            with make_progress(log_format="text", quiet=False).track("work", 3) as advance:
                advance(1)
                raise ValueError
        except ValueError:
            print("failed", file=sys.stderr)
        """
    output, seen = seen_at_terminal("-c", textwrap.dedent(script))
    assert output == ""
    assert without_codes(seen).endswith("failed\n")
    assert seen.count("\x1b[?25h") == 1


def test_a_bar_needs_rich_only_when_it_is_shown() -> None:
    script = """
        import sys
        from ecbehave.progress import make_progress
        make_progress(log_format="text", quiet=False)
        print("rich" in sys.modules)
        """
    output, _ = seen_at_terminal("-c", textwrap.dedent(script))
    assert output == "False\n"


def test_a_command_at_a_terminal_prints_its_result_only(shop: Shop) -> None:
    command = ("-m", "ecbehave", "ingest", "--config", str(shop.config()))
    output, seen = seen_at_terminal(*command, "--json")
    assert json.loads(output)["status"] == "done"
    assert re.search(r"ingest ━+ [0-2]/2", without_codes(seen))
    assert without_codes(seen).endswith("ingest: 2 new of 2 files, 3,475 event rows\n")
    output, seen = seen_at_terminal(*command, "--quiet")
    assert output.startswith("ingest    skipped         3,515 rows")
    assert seen == ""
