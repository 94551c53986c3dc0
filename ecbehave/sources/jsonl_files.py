"""JSON lines as chunks of text columns."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import polars as pl

from ecbehave.errors import DataError
from ecbehave.sources.chunk import KEPT_CHARACTERS, Chunk, check_columns
from ecbehave.sources.text import BLOCK_BYTES, TextStream


def read_jsonl(path: Path, wanted: Mapping[str, str], encoding: str, key: str) -> Iterator[Chunk]:
    """Read a file of one JSON object per line in blocks, every value as text.

    Columns are keys of the object itself, not of objects inside it. The data row is the line: blank lines are
    skipped but count. Lines that hold no JSON object come out in `Chunk.bad`.

    Args:
        path: the file, plain or compressed.
        wanted: dotted key of the config to the JSON key it names.
        encoding: a Python codec name.
        key: dotted key of the source, for messages.

    Raises:
        DataError: the file is empty, damaged, in another encoding, not JSON lines, or no row of its first
            block has a wanted key.
    """
    columns = list(dict.fromkeys(wanted.values()))
    first_line, is_first = 1, True
    with TextStream(path, encoding, key) as stream:
        for block in _blocks(stream, path, key):
            chunk = _read(block, first_line, columns)
            first_line += block.count(b"\n") + 1
            if chunk.frame.is_empty() and not chunk.bad:
                continue
            if is_first:
                _check_first(path, wanted, chunk, block, key)
                is_first = False
            yield chunk
    if is_first:
        raise DataError(f"{path}: the file is empty; expected one JSON object per line")


def _blocks(stream: TextStream, path: Path, key: str) -> Iterator[bytes]:
    """Cut the stream into blocks of whole lines, without the last newline."""
    ready: bytes | None = None
    kept = b""
    while block := stream.read(BLOCK_BYTES):
        lines, newline, rest = block.rpartition(b"\n")
        if newline:
            if ready is not None:
                yield ready
            ready, kept = kept + lines, rest
        else:
            kept += rest
        if len(kept) > BLOCK_BYTES:
            raise DataError(
                f"{path}: a line is longer than {BLOCK_BYTES >> 20} MB; write one JSON object per line, "
                f"or set {key}.format"
            )
    if kept:
        ready = kept if ready is None else ready + b"\n" + kept
    if ready is not None:
        yield ready


def _read(block: bytes, first_line: int, columns: list[str]) -> Chunk:
    """Read a block at once; where that fails, line by line, to find the bad ones."""
    n_lines = block.count(b"\n") + 1
    try:
        frame = pl.read_ndjson(block, schema=dict.fromkeys(columns, pl.String()))
    except pl.exceptions.ComputeError:
        return _read_lines(block, first_line, columns)
    if frame.height != n_lines:  # there are blank lines
        return _read_lines(block, first_line, columns)
    return Chunk(frame, pl.int_range(first_line, first_line + n_lines, dtype=pl.UInt32, eager=True))


def _read_lines(block: bytes, first_line: int, columns: list[str]) -> Chunk:
    lines = {n: line for n, line in enumerate(block.split(b"\n"), first_line) if line.strip()}
    objects = {n: _object(line) for n, line in lines.items()}
    good = {n: o for n, o in objects.items() if o is not None}
    bad = [(n, lines[n].decode().rstrip("\r")[:KEPT_CHARACTERS]) for n, o in objects.items() if o is None]
    texts = {column: [_text(o.get(column)) for o in good.values()] for column in columns}
    frame = pl.DataFrame(texts, schema=dict.fromkeys(columns, pl.String()))
    return Chunk(frame, pl.Series(list(good), dtype=pl.UInt32), bad)


def _object(line: bytes) -> dict[str, object] | None:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _text(value: object) -> str | None:
    """Write a JSON value the way the fast path does."""
    if value is None:
        return None
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")  # half a surrogate pair is no text
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    return json.dumps(value, ensure_ascii=False)


def _check_first(path: Path, wanted: Mapping[str, str], chunk: Chunk, block: bytes, key: str) -> None:
    if chunk.frame.is_empty():
        number, text = chunk.bad[0]
        raise DataError(
            f"{path}: none of the first {len(chunk.bad)} lines is a JSON object, first line {number}: "
            f"{text!r}; write one object per line, or set {key}.format"
        )
    absent = [c for c in chunk.frame.columns if chunk.frame[c].null_count() == chunk.frame.height]
    if absent:
        objects = map(_object, block.split(b"\n"))
        names = dict.fromkeys(name for o in objects if o is not None for name in o)
        check_columns(path, wanted, list(names))
