"""The net of all kinds over sequences: events as vectors, an encoder, and heads that answer."""

from dataclasses import dataclass
from typing import Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from ecbehave.models.deep import tokens
from ecbehave.models.deep.encoders import Encoder
from ecbehave.models.deep.noise import Noise, dropout
from ecbehave.models.deep.tokens import Tokens
from ecbehave.models.deep.vocabulary import Vocabulary
from ecbehave.models.deep.weights import initialise
from ecbehave.models.ensemble.elastic_net import Penalty, fit_penalised

#: Size of the numbers that stand for an item at first, where items that are alike begin so.
_BEGIN = 0.05
#: What norms scale has a length of about the root of the width; its products with items of a length of this divided by
#: that root are from -12 to 12. Measured on Amazon Beauty, NDCG@10 of the validation items: 12 .0677, 16 .0675.
_LENGTH = 12.0
#: One of so many items, or fewer, have a gradient that leaves the others out.
_PART = 4


@dataclass(frozen=True)
class Sizes:
    """How many different numbers each part of an event can have; 0 leaves the part out."""

    item: int
    category: int
    event_type: int
    price: int
    dwell: int
    query: int
    """How much is known of a whole history."""
    ahead: int
    """Types of events times times ahead that are foreseen before labels are learned."""

    @classmethod
    def of(cls, known: Vocabulary, n_horizons: int) -> "Sizes":
        """Return the sizes for a vocabulary; what is always the same is left out."""

        def size(n: int, fewest: int) -> int:
            return n + 1 if n >= fewest else 0

        return cls(
            known.n_rows,
            size(len(known.categories), 1),
            size(len(known.event_types), 2),
            size(len(known.price_edges) + 1, 3),
            tokens.N_DWELLS if known.has_dwell else 0,
            tokens.n_query(known),
            len(known.event_types) * n_horizons,
        )


class Head(nn.Module):
    """The log-odds of a label, from what a net knows after the last instant, and from what is known of all of them.

    The latter also counts by itself, and at first nothing else does: a net with few labels says no less than a logistic
    regression. Source: Cheng et al. (2016), Wide and deep learning for recommender systems, section 3.
    """

    def __init__(self, width: int, n_query: int, n_asked: int = 1) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(width + n_query, width), nn.GELU(), nn.Linear(width, n_asked))
        self.direct = nn.Linear(n_query, n_asked)
        self.centre: torch.Tensor
        self.spread: torch.Tensor
        self.register_buffer("centre", torch.zeros(n_query))
        self.register_buffer("spread", torch.ones(n_query))

    def begin(self, known: NDArray[np.float32], label: NDArray[np.int8]) -> None:
        """Begin with the logistic regression of labels [N] on what is known of whole histories [N, Q]."""
        coefficients = regression(self.scale(known), label)
        with torch.no_grad():
            self.direct.weight.copy_(torch.from_numpy(coefficients[None, 1:]))
            self.direct.bias.fill_(coefficients[0])
            for weight in self.layers[-1].parameters():
                weight.zero_()

    def scale(self, known: NDArray[np.float32]) -> NDArray[np.float32]:
        """Learn how large values [N, Q] are; returns them with mean 0 and deviation 1."""
        centre, spread = known.mean(axis=0), known.std(axis=0)
        spread[np.ptp(known, axis=0) == 0] = 1  # the deviation of equal values is not 0 but rounding
        with torch.no_grad():
            self.centre.copy_(torch.from_numpy(centre))
            self.spread.copy_(torch.from_numpy(spread))
        scaled: NDArray[np.float32] = (known - centre) / spread
        return scaled

    def forward(self, state: torch.Tensor, query: torch.Tensor) -> torch.Tensor:
        """Return [B, A] for states [B, D] and what is known of the histories [B, Q]."""
        scaled = ((query - self.centre) / self.spread).to(state.dtype)
        found: torch.Tensor = self.layers(torch.cat([state, scaled], 1)) + self.direct(scaled)
        return found


def regression(values: NDArray[np.floating], label: NDArray[np.int8]) -> NDArray[np.float64]:
    """Return the intercept and the coefficients [1 + Q] of a slightly regularised logistic regression."""
    from threadpoolctl import threadpool_limits

    design = np.column_stack([np.ones(label.size), values.astype(np.float64)])
    weight = np.full(label.size, 1 / label.size)
    l2 = np.full(design.shape[1], 1 / label.size)
    l2[0] = 0
    if np.ptp(label) == 0:
        # Of one class, no odds are high enough.
        return np.append(np.log((label.sum() + 0.5) / (label.size - label.sum() + 0.5)), l2[1:] * 0)
    block = (design, label.astype(np.float64), weight)
    # The last digit of a sum over many rows depends on the number of threads that add it up.
    with threadpool_limits(1, "blas"):
        return fit_penalised(lambda: [block], Penalty(np.zeros_like(l2), l2), np.zeros_like(l2))


class SequenceNet(nn.Module):
    """Reads sequences of events; answers with vectors to compare items with, or with a logit."""

    def __init__(
        self,
        sizes: Sizes,
        encoder: Encoder,
        width: int,
        input_dropout: float,
        rng: torch.Generator,
        *,
        is_cosine: bool = False,
    ) -> None:
        """Make it.

        Args:
            sizes: of the parts of an event.
            encoder: reads the events; its first weights are drawn.
            width: D.
            input_dropout: share that is dropped of what the encoder reads.
            rng: for the other first weights.
            is_cosine: whether items are compared by direction alone; see `SequenceConfig.similarity`.
        """
        super().__init__()
        self.input_dropout, self.is_cosine = input_dropout, is_cosine
        # Of a large catalogue a batch has few items: its gradient names them, and leaves the others out.
        self.item = nn.Embedding(sizes.item, width, padding_idx=0, sparse=True)
        self.category = nn.Embedding(sizes.category, width, padding_idx=0) if sizes.category else None
        of_events = {"event_type": sizes.event_type, "price": sizes.price, "dwell": sizes.dwell}
        of_instants = {
            "size": tokens.N_SIZES,
            "gap": tokens.N_GAPS,
            "weekday": tokens.N_WEEKDAYS,
            "hour": tokens.N_HOURS,
        }
        self.of_events, self.of_instants = (
            nn.ModuleDict({name: nn.Embedding(n, width) for name, n in parts.items() if n})
            for parts in (of_events, of_instants)
        )
        self.norm = nn.LayerNorm(width) if encoder.reads_scaled else nn.Identity()
        self.ahead = Head(width, sizes.query, sizes.ahead) if sizes.ahead else None
        self.head = Head(width, sizes.query + sizes.ahead)
        for module in (
            self.item,
            self.category,
            self.of_events,
            self.of_instants,
            self.ahead,
            self.head,
        ):
            if module is not None:
                initialise(module, rng)
        self.encoder = encoder

    def begin(self, vectors: NDArray[np.float32]) -> None:
        """Begin with what stands for items; see `item_vectors` [R, D]."""
        with torch.no_grad():
            self.item.weight += torch.from_numpy(vectors * np.float32(_BEGIN)).to(self.item.weight.device)

    def freeze(self, what: Literal["nothing", "items", "body"]) -> None:
        """Let some weights stay as they are; see `Pretrain.freeze`."""
        frozen: dict[str, list[nn.Module]] = {"nothing": []}
        frozen["items"] = [self.item, *([] if self.category is None else [self.category])]
        frozen["body"] = [*frozen["items"], self.of_events, self.of_instants, self.norm, self.encoder]
        for module in frozen[what]:
            module.requires_grad_(requires_grad=False)

    def embeddings(self, read: Tokens) -> torch.Tensor:
        """Return a vector for each event [B, L, D]."""
        found: torch.Tensor = self.item(read.item)
        if self.category is not None:
            found = found + self.category(read.category)
        for name, embedding in self.of_events.items():
            found = found + embedding(getattr(read, name))
        return found

    def _instants(self, read: Tokens, events: torch.Tensor) -> torch.Tensor:
        """Return a vector for each instant [B, M, D]: the mean of its events, and when it was."""
        n_sequences, n_events, width = events.shape
        n_instants = read.gap.shape[1]
        found = events
        if n_events != n_instants or bool((read.n_events > 1).any()):
            number = read.instant + n_instants * torch.arange(n_sequences, device=events.device)[:, None]
            at = torch.arange(n_events, device=events.device)
            is_there = at < read.n_events.sum(1, keepdim=True)
            summed = events.new_zeros(n_sequences * n_instants, width)
            summed = summed.index_add(0, number.flatten(), (events * is_there[..., None]).flatten(0, 1))
            found = summed.view(n_sequences, n_instants, width) / read.n_events.clamp(min=1)[..., None]
        for name, embedding in self.of_instants.items():
            found = found + embedding(getattr(read, name))
        return found

    def mean_event(self) -> torch.Tensor:
        """Return the mean vector of all events that can be [D]."""
        embeddings = [
            self.item,
            *([] if self.category is None else [self.category]),
            *self.of_events.values(),
        ]
        tables = [cast("nn.Embedding", embedding).weight for embedding in embeddings]
        # The first row stands for none; a table may have no other.
        return torch.stack([table[min(1, len(table) - 1) :].mean(0) for table in tables]).sum(0)

    def states(self, read: Tokens, noise: Noise | None = None) -> torch.Tensor:
        """Return what is known after each instant [B, M, D]; `noise` is for learning."""
        found: torch.Tensor = self.encoder(self._read(read, noise, None), read.when, noise)
        return found

    def _read(self, read: Tokens, noise: Noise | None, embedded: torch.Tensor | None) -> torch.Tensor:
        """Return what the encoder reads [B, M, D]."""
        x = self._instants(read, self.embeddings(read) if embedded is None else embedded)
        return dropout(self.norm(x), self.input_dropout, noise)

    def last(
        self, read: Tokens, noise: Noise | None = None, embedded: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return what is known after the last instant of each sequence [B, D].

        Args:
            read: the events.
            noise: for learning.
            embedded: vectors in the place of `embeddings`.
        """
        return self.encoder.last(self._read(read, noise, embedded), read.when, read.n_instants - 1, noise)

    def logits(
        self, read: Tokens, noise: Noise | None = None, embedded: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return the log-odds of the label of each sequence [B]."""
        state = self.last(read, noise, embedded)
        found: torch.Tensor = self.head(state, self._known(state, read))
        return found[:, 0]

    def _known(self, state: torch.Tensor, read: Tokens) -> torch.Tensor:
        """Return what is known of histories, and what is foreseen [B, Q + A]."""
        if self.ahead is None:
            return read.query
        return torch.cat([read.query, self.ahead(state, read.query).to(read.query.dtype)], 1)

    def known(self, read: Tokens) -> torch.Tensor:
        """Return what the label's head reads beside the state [B, Q + A]."""
        return self._known(self.last(read), read)

    def foreseen(self, read: Tokens, noise: Noise | None = None) -> torch.Tensor:
        """Return the log-odds of each type of event within each time [B, A]."""
        found: torch.Tensor = cast("Head", self.ahead)(self.last(read, noise), read.query)
        return found

    def table(self, rows: torch.Tensor, categories: torch.Tensor) -> torch.Tensor:
        """Return the vectors that items are compared by [K, D], the same that stand for them in a sequence.

        With `is_cosine` all are as long: scaled so, their products with what a norm has scaled begin between -12 and
        12. Source: Gupta et al. (2019), NISER: Normalized item and session representations to handle popularity bias.

        Args:
            rows: [K] embedding rows.
            categories: [K] numbers.
        """
        is_part = rows.numel() * _PART < self.item.num_embeddings
        found = functional.embedding(rows, self.item.weight, padding_idx=0, sparse=is_part)
        if self.category is not None:
            found = found + functional.embedding(categories, self.category.weight, padding_idx=0)
        if self.is_cosine:
            found = functional.normalize(found, dim=1) * (_LENGTH / found.shape[1] ** 0.5)
        return found
