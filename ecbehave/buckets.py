"""Which bucket a user is in: a hash that is the same for every version, machine and engine.

A bucket is a range of hashes, and everything per user is ordered by hash. The buckets one after the other are
therefore in the same order however many there are.
"""

import math

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray


def user_hash(user_id: pl.Series) -> pl.Series:
    """Return a 64-bit hash (UInt64) of each text, computed once per distinct value.

    Source: FNV-1a over the UTF-8 bytes (Fowler, Noll, Vo), finished with the mixer of MurmurHash3 (Appleby), since
    the high bits of FNV-1a alone are poor for short texts and buckets are cut by the high bits.
    """
    distinct = user_id.unique()
    hashed = pl.Series(_hash_texts(distinct), dtype=pl.UInt64)
    # Without any value to replace, polars keeps the type of the texts, whatever return_dtype says.
    return user_id.replace_strict(distinct, hashed).cast(pl.UInt64).alias("user_hash")


def _hash_texts(texts: pl.Series) -> NDArray[np.uint64]:
    array = texts.to_arrow(compat_level=pl.CompatLevel.oldest())
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    array = array.cast(pa.large_string())
    n = len(array)
    _, offsets_buffer, data_buffer = array.buffers()
    offsets = np.frombuffer(offsets_buffer, dtype=np.int64)[array.offset : array.offset + n + 1]
    data = np.frombuffer(data_buffer or b"", dtype=np.uint8)
    length = np.diff(offsets)
    # With the longest first, the texts that have a byte at a position are a slice, and the whole costs one step a byte.
    order = np.argsort(-length, kind="stable")
    start, length = offsets[:-1][order], length[order]
    n_longer = np.searchsorted(-length, -np.arange(length.max(initial=0)), side="left")
    value = np.full(n, 0xCBF29CE484222325, dtype=np.uint64)
    prime = np.uint64(0x100000001B3)
    for position, m in enumerate(n_longer):
        value[:m] = (value[:m] ^ data[start[:m] + position]) * prime
    hashed = np.empty_like(value)
    hashed[order] = value
    return _mix(hashed)


def _mix(value: NDArray[np.uint64]) -> NDArray[np.uint64]:
    shift = np.uint64(33)
    value = (value ^ (value >> shift)) * np.uint64(0xFF51AFD7ED558CCD)
    value = (value ^ (value >> shift)) * np.uint64(0xC4CEB9FE1A85EC53)
    return value ^ (value >> shift)


def n_buckets(n_rows: int, rows_at_once: int) -> int:
    """Return how many buckets, a power of two, have about that many rows each at most."""
    return 1 << max(math.ceil(math.log2(max(n_rows, 1) / rows_at_once)), 0)


def bucket_of(n: int) -> pl.Expr:
    """Return the bucket (0 to n - 1, n a power of two) of `user_hash`."""
    bits = n.bit_length() - 1
    if bits == 0:
        return pl.lit(0, pl.UInt32)
    return (pl.col("user_hash") // (1 << (64 - bits))).cast(pl.UInt32)
