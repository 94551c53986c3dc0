"""Text files as a stream of UTF-8: decompressed, decoded, byte order mark removed, every byte checked."""

import codecs
import os
from pathlib import Path
from types import TracebackType
from typing import Self

import pyarrow as pa

from ecbehave.errors import ConfigError, DataError

#: Bytes that are read and parsed at a time.
BLOCK_BYTES = 4 << 20

_CODECS = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2"}


def is_compressed(path: Path) -> bool:
    """Tell whether the suffix names a compression that `TextStream` undoes."""
    return path.suffix.lower() in _CODECS


class TextStream:
    """A binary file-like object that reads any text file as UTF-8.

    Args:
        path: the file; `.gz`, `.zst` and `.bz2` are decompressed.
        encoding: a Python codec name.
        key: dotted key of the source, for messages.

    Raises:
        ConfigError: the encoding is unknown.
        DataError: on opening or reading, if the file cannot be read, is cut off, or is not in that encoding.
    """

    def __init__(self, path: Path, encoding: str, key: str) -> None:
        self._path, self._key = path, key
        try:
            "".encode(encoding)
        except LookupError:
            raise ConfigError(
                f"{key}.encoding: unknown encoding {encoding!r}; use a name such as utf-8, latin-1 or cp1252"
            ) from None
        self._encoding = codecs.lookup(encoding).name
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self._line = 1
        self._at_start, self._at_end = True, False
        try:
            self._file = pa.OSFile(str(path), "rb")
        except OSError as error:
            raise unreadable(path, error) from error
        codec = _CODECS.get(path.suffix.lower())
        self._stream = pa.CompressedInputStream(self._file, codec) if codec else self._file

    @property
    def closed(self) -> bool:
        """Whether the file is closed; pyarrow asks."""
        return bool(self._file.closed)

    def read(self, size: int) -> bytes:
        """Return the next bytes, at most `size`; none at the end of the file."""
        is_utf8 = self._encoding == "utf-8"
        taken = b""
        while not taken and not self._at_end:
            # No other encoding grows by more than this when it becomes UTF-8.
            block = self._read_raw(size if is_utf8 else max(size // 4, 1))
            self._at_end = not block
            text = self._decode(block)
            taken = block if is_utf8 else text.encode("utf-8")
            if self._at_start:
                taken, self._at_start = taken.removeprefix(codecs.BOM_UTF8), False
        return taken

    def close(self) -> None:
        """Close the file."""
        self._stream.close()
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read_raw(self, size: int) -> bytes:
        try:
            return bytes(self._stream.read(size))
        except OSError as error:
            raise unreadable(self._path, error) from error

    def _decode(self, block: bytes) -> str:
        try:
            text = self._decoder.decode(block, final=self._at_end)
        except UnicodeDecodeError as error:
            line = self._line + error.object[: error.start].count(b"\n")
            raise DataError(
                f"{self._path}: byte 0x{error.object[error.start]:02x} in line {line} is not "
                f"{self._encoding}; set {self._key}.encoding to latin-1, or to the right one"
            ) from None
        self._line += block.count(b"\n")
        return text


def unreadable(path: Path, error: OSError) -> DataError:
    """Word an error of the disk, or of a damaged file (pyarrow gives those no errno)."""
    if error.errno is not None:
        return DataError(f"{path}: cannot be read: {os.strerror(error.errno)}")
    return DataError(
        f"{path}: the file is cut off or damaged ({error}); bring it again from where it came from"
    )
