"""The config that all kinds over sequences share. Imports no torch."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ecbehave.config.model import ModelConfig
from ecbehave.config.values import Duration, Section, parse_duration
from ecbehave.models.deep.settings import Training

Share = Annotated[float, Field(ge=0, lt=1)]


class Pretrain(Section):
    """Learning from unlabelled histories, before labels are looked at."""

    source: str | None = None
    """Folder of a run of this shop or another one, in its workspace, whose net of the same kind and shape is where this
    one begins; relative to the YAML file's folder or absolute. It must know nothing from after the first train
    cutoff."""
    same_catalogue: bool = True
    """Whether the same item ids and categories are the same things there; if not, what stands for them is learned anew,
    and only the body of the net is shared."""
    epochs: Annotated[int, Field(ge=0)] = 5
    """Passes over the histories before the first train cutoff; 0 leaves it out."""
    horizons: list[Duration] = Field(default=[parse_duration("7d"), parse_duration("28d")])
    """Times ahead: where a label is the question, learn after the next items which types of events come within each of
    these times, as of instants anywhere in these histories; `[]` leaves it out."""
    horizon_epochs: Annotated[int, Field(gt=0)] = 5
    """Passes for `horizons`, over four instants of each user."""
    freeze: Literal["nothing", "items", "body"] = "items"
    """What stays as it is then while labels are learned: nothing, the embeddings of items and categories, or everything
    but the last layers (`body`). Few labels teach large nets by heart; what was not pretrained is not frozen."""

    @model_validator(mode="after")
    def _has_learned_what_is_frozen(self) -> Self:
        if self.freeze == "body" and self.epochs == 0 and self.source is None:
            raise ValueError(
                "freeze: body keeps what pretraining has learned; set epochs above 0, or freeze to nothing"
            )
        return self


class SequenceConfig(ModelConfig):
    """What every kind over sequences can be told."""

    event_weights: dict[str, Annotated[float, Field(gt=0)]] = Field(
        default={"view": 0.2, "click": 0.2, "cart": 0.5, "purchase": 1.0}
    )
    """How much it counts to foresee an event, by type; types not named are read, but not foreseen."""
    width: Annotated[int, Field(ge=8, le=4096)] = 64
    """Numbers that stand for an event, or an instant, inside of the net; even."""
    layers: Annotated[int, Field(ge=1, le=64)] = 2
    """Layers of the net."""
    dropout: Share = 0.2
    """Share of the numbers inside of the net that are left out at random while it learns."""
    input_dropout: Share = 0.2
    """The same, for what stands for an instant."""
    length: Annotated[int, Field(ge=1)] = 100
    """Most instants of a user that are read, the newest ones: an instant is all that happens at one time, as a basket
    does."""
    min_events: Annotated[int, Field(ge=1)] = 5
    """An item with fewer events shares its embedding with others; its category tells it from them."""
    shared_rows: Annotated[int, Field(ge=0)] = 1000
    """Embeddings that rare and new items share; 0 gives every known item its own, and new ones none."""
    item_vectors: Literal["auto", "alike", "random"] = "auto"
    """How what stands for items begins: items that the same users had point the same way (`alike`), or any (`random`).
    `auto` is `alike` where next items are the question, which saves epochs, where items have few events most of them;
    and `random` where labels are, or another net's weights are taken over (`pretrain.source`)."""
    similarity: Literal["cosine", "product"] = "cosine"
    """How what is known of a user is compared with what stands for an item: by its direction (`cosine`), which finds
    the items that suit; or by its length, too (`product`), where what is popular can come first."""
    loss: Literal["auto", "softmax", "sampled", "gbce"] = "auto"
    """What is asked of the next items: to stand before all others (`softmax`), or before some drawn ones, either with
    a correction for how they are drawn (`sampled`) or each by itself (`gbce`). `auto` is `softmax` up to 20,000 items,
    and `sampled` beyond, where it takes far less time."""
    negatives: Annotated[int, Field(ge=1)] = 1024
    """Items that are drawn for `loss: sampled` and `gbce`, for each part of a batch."""
    label_smoothing: Share = 0.0
    """Share of `loss: softmax` that asks for any item at all."""
    repeat_weight: Literal["auto"] | Annotated[float, Field(ge=0)] = "auto"
    """Added to the score of what the user had before, times the weight of those events. `auto` is the one of 0, 0.5, 1,
    2, 4, 8, 16 and 32 with which the lists of the validation window are best, and 0 without one: a net alone hardly
    learns that a household buys the same again."""
    half_life: Duration = parse_duration("60d")
    """Time after which what was had before counts half; see `repeat_weight`."""
    pretrain: Pretrain = Field(default_factory=Pretrain)
    """Learning to foresee the next items and events first, where the question is another one: churn, or purchase of
    anything."""
    training: Training = Field(default_factory=Training)
    """How the net is trained."""
