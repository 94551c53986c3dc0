"""What drove the score of a sequence: its instants, each with its events, and when things happened."""

from collections.abc import Iterator

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from ecbehave.models.deep.attribution import integrated_gradients
from ecbehave.models.deep.sequence_net import SequenceNet
from ecbehave.models.deep.tokens import Reader, Span, Tokens
from ecbehave.models.protocol import DRIVERS

#: Sequences that are explained at once.
_AT_ONCE = 64
_DAY = 86_400e6


def drivers(
    net: SequenceNet, reader: Reader, span: Span, usual: NDArray[np.float32], n: int
) -> Iterator[pl.DataFrame]:
    """Yield the strongest drivers of the log-odds of each sequence, a part of the sequences after the other.

    On the way from a usual user to this one, an event goes from the mean of all events to itself, and what is known of
    the whole history (how many events, since when and until when) from the usual to the user's own. Each instant
    counts what its events add, and the history what that adds.

    Args:
        net: trained on labels.
        reader: of one input.
        span: N sequences.
        usual: [Q] mean of `Tokens.query` over the train rows.
        n: how many of each sequence.

    Yields:
        `DRIVERS`, rows of a sequence together, the strongest first.
    """
    for start in range(0, len(span), _AT_ONCE):
        part = span.take(np.arange(start, min(start + _AT_ONCE, len(span))))
        effects = _effects(net, reader.tokens(part).to(net.item.weight.device), usual)
        yield _strongest(_told(reader, part, effects), n).with_columns(pl.col("row") + start)


def _effects(net: SequenceNet, read: Tokens, usual: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return what each event adds to the score [B, L + 1]; the last column is that of the whole history."""
    n_events = read.item.shape[1]
    with torch.no_grad():
        events, mean = net.embeddings(read), net.mean_event()
    whole = _with_history(events, read.query)
    fixed = _with_history(mean.expand_as(events), torch.from_numpy(usual).to(events).expand_as(read.query))

    def score(vectors: Tensor, row: Tensor) -> Tensor:
        query = vectors[:, n_events:].flatten(1)[:, : read.query.shape[1]]
        return net.logits(read.take(row, query), None, vectors[:, :n_events])

    found = integrated_gradients(score, whole, fixed).by_event.double()
    of_history = found[:, n_events:].sum(1, keepdim=True)
    return torch.cat([found[:, :n_events], of_history], 1).cpu().numpy()


def _with_history(events: Tensor, query: Tensor) -> Tensor:
    """Put what is known of the history behind the events, as if it were some more: [B, L + Q / D, D], rounded up."""
    width = events.shape[2]
    padded = torch.nn.functional.pad(query, (0, -query.shape[1] % width))
    return torch.cat([events, padded.view(len(query), -1, width)], 1)


def _told(reader: Reader, span: Span, effects: NDArray[np.float64]) -> pl.DataFrame:
    """Return the effect of each instant and of each history, with what happened."""
    data = reader.parts[0]
    length = span.end - span.start
    row = np.repeat(np.arange(len(span)), length)
    column = np.arange(row.size) - np.repeat(np.cumsum(length) - length, length)
    place = span.start[row] + column
    days = (span.now[row] - data.log.ts[place]) / _DAY
    events = pl.DataFrame(
        {
            "row": row,
            "instant": reader.instant_of(0, place),
            "effect": effects[row, column],
            "event_type": data.log.event_types.gather(data.log.event_type[place]),
            "item_id": _names(data.log.items, data.log.item[place]),
            "category": _names(data.log.categories, data.log.category[place]),
            "days": days,
        }
    )
    is_along = pl.col("effect") * pl.col("effect").sum().sign().over("row", "instant")
    instants = (
        events.with_columns(along=is_along)
        .sort("row", "instant", "along", descending=[False, False, True], maintain_order=True)
        .group_by("row", "instant", maintain_order=True)
        .agg(
            pl.col("effect").sum(),
            pl.col("event_type", "item_id", "category").first(),
            pl.col("days").first(),
            n_events=pl.len().cast(pl.Int64),
        )
    )
    histories = pl.DataFrame(
        {
            "row": np.arange(len(span)),
            "effect": effects[:, -1],
            "days": (span.now - data.log.ts[span.end - 1]) / _DAY,
            "since_days": (span.now - data.log.ts[span.first]) / _DAY,
            "n_events": span.end - span.first,
        }
    )
    return pl.concat([instants.drop("instant"), histories], how="diagonal").select(*DRIVERS)


def _names(names: pl.Series, codes: NDArray[np.int32]) -> pl.Series:
    return names.gather(pl.Series(codes).cast(pl.Int64).replace(-1, None))


def _strongest(told: pl.DataFrame, n: int) -> pl.DataFrame:
    ordered = told.with_columns(size=pl.col("effect").abs()).sort(
        "row", "size", "days", descending=[False, True, False], maintain_order=True
    )
    return ordered.group_by("row", maintain_order=True).head(n).drop("size")
