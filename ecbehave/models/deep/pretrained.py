"""What a net over sequences takes over from one that was trained before, on this shop's log or on another's."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ecbehave.errors import ConfigError
from ecbehave.models.deep.sequence_net import SequenceNet
from ecbehave.models.deep.vocabulary import Ints, Vocabulary, places_in
from ecbehave.models.deep.weights import load_weights

#: Weights of the heads answer the questions of the run before.
_OWN = ("head.", "ahead.")
_BODY = "encoder."
_PRICE = "of_events.price.weight"


def take_over(net: SequenceNet, known: Vocabulary, folder: Path, same_catalogue: bool) -> None:
    """Put the weights of a stored net into one that is about to learn.

    The encoder has to be of the same shape. What stands for names, such as an item, goes to the same name; what stands
    for a level of price, to the level that has these prices, in another shop to the one of about the same rank. What
    the other net has not known stays as it was drawn. The heads are left alone.

    Args:
        net: the new net.
        known: what it knows by name.
        folder: where the other net and what it knew by name were saved; see `SequenceKind.save`.
        same_catalogue: whether the same item ids and categories mean the same; event types always do.

    Raises:
        ConfigError: the other net's encoder is not of this one's shape.
        ArtifactError: the folder does not hold a net over sequences.
    """
    stored, before = load_weights(folder / "net.npz"), Vocabulary.load(folder, "vocabulary")
    named = {"of_events.event_type.weight": (before.event_types, known.event_types)}
    if same_catalogue:
        named["category.weight"] = (before.categories, known.categories)
    own = net.state_dict()
    _check_body(own, stored)
    with torch.no_grad():
        for name, weight in own.items():
            if name not in stored or name.startswith(_OWN) or stored[name].shape[1:] != weight.shape[1:]:
                continue
            if name == "item.weight":
                if same_catalogue:
                    _copy_items(weight, stored[name], known, before)
            elif name == _PRICE:
                weight[1:] = stored[name][1 + _price_levels(known, before, same_catalogue)]
            elif name in named:
                theirs, ours = named[name]
                place = places_in(theirs, ours)
                # Numbers begin at 1.
                weight[1 + np.flatnonzero(place >= 0)] = stored[name][1 + place[place >= 0]]
            elif name != "category.weight" and stored[name].shape == weight.shape:
                weight.copy_(stored[name])


def _check_body(own: dict[str, Tensor], stored: dict[str, Tensor]) -> None:
    ours, theirs = (
        {name: tuple(weight.shape) for name, weight in weights.items() if name.startswith(_BODY)}
        for weights in (own, stored)
    )
    if ours != theirs:
        name = min(name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name))
        had, has = (f"{[*shapes[name]]}" if name in shapes else "missing" for shapes in (theirs, ours))
        raise ConfigError(
            f"pretrain.source: the net there has another body than this model ({name.removeprefix(_BODY)} is {had} "
            f"there and {has} here); set kind, width, layers and what else shapes the kind as they were there"
        )


def _price_levels(known: Vocabulary, before: Vocabulary, same_catalogue: bool) -> Ints:
    """Return the stored level, from 0 on, for each of the new ones: where its lowest price lies, or by its rank."""
    ours, theirs = known.price_edges, before.price_edges
    if same_catalogue:
        return np.append(0, np.searchsorted(theirs, ours, side="right")).astype(np.int64)
    # Elsewhere the same prices mean other things; levels hold about as many events each.
    return np.rint(np.linspace(0, theirs.size, ours.size + 1)).astype(np.int64)


def _copy_items(weight: Tensor, stored: Tensor, known: Vocabulary, before: Vocabulary) -> None:
    """Copy what stands for an item, be it the item's own or shared with others."""
    if known.n_shared == before.n_shared:
        weight[1 + known.n_own :] = stored[1 + before.n_own :]
    place = places_in(before.item_ids, known.item_ids)
    is_own = (place >= 0) & (known.item_rows <= known.n_own)
    weight[known.item_rows[is_own]] = stored[before.item_rows[place[is_own]]]
