"""Train a net of RecBole, and list items by it: `peer_recbole.py FOLDER MODEL EPOCHS`; runs where RecBole is installed.

FOLDER holds `beauty/beauty.inter`. Prints the seconds of an epoch, NDCG@10 of the validation items, and how long lists
of 20 took, as JSON. With `best` for EPOCHS it trains until that NDCG gets no better, and prints it after each epoch,
with the seconds of training until then. Loss and sizes are those that `nets_speed.py` gives its own.
"""

import json
import sys
import time
from typing import Any

import numpy as np
import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.trainer import Trainer
from recbole.utils import get_model, init_seed

K, LENGTH = 10, 20
#: Epochs without a better NDCG, after which `best` ends.
PATIENCE = 5
SETTINGS: dict[str, Any] = {
    "USER_ID_FIELD": "user_id",
    "ITEM_ID_FIELD": "item_id",
    "TIME_FIELD": "timestamp",
    "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
    "MAX_ITEM_LIST_LENGTH": 50,
    "train_neg_sample_args": None,
    "loss_type": "CE",
    "hidden_size": 64,
    "embedding_size": 64,
    "train_batch_size": 512,
    "eval_batch_size": 512,
    "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user", "mode": "full"},
    "use_gpu": False,
    "state": "ERROR",
    "show_progress": False,
    "seed": 0,
    "reproducibility": True,
}


def main() -> None:
    """Train, and list items or look for the best epoch."""
    folder, name, epochs = sys.argv[1:4]
    sys.argv = sys.argv[:1]
    config = Config(model=name, dataset="beauty", config_dict=SETTINGS | {"data_path": folder})
    init_seed(config["seed"], config["reproducibility"])
    dataset = create_dataset(config)
    train, valid, test = data_preparation(config, dataset)
    model = get_model(name)(config, train.dataset)
    trainer = Trainer(config, model)
    if epochs == "best":
        until_best(trainer, train, valid)
        return
    started = time.perf_counter()
    for epoch in range(int(epochs)):
        trainer._train_epoch(train, epoch, show_progress=False)
    seconds = (time.perf_counter() - started) / int(epochs)
    told = {"seconds": seconds, "ndcg": ndcg(model, valid), "n_targets": len(train.dataset)}
    started = time.perf_counter()
    n_lists = sum(len(scores.topk(LENGTH).indices) for scores, _ in ranked(model, test))
    listing = time.perf_counter() - started
    print(json.dumps(told | {"listing": listing, "n_lists": n_lists}))


def until_best(trainer: Any, train: Any, valid: Any) -> None:
    """Train until the validation NDCG has not been better for some epochs, and print each one."""
    reached: list[float] = []
    seconds = 0.0
    while len(reached) - np.argmax([0.0, *reached]) < PATIENCE:
        started = time.perf_counter()
        trainer._train_epoch(train, len(reached), show_progress=False)
        seconds += time.perf_counter() - started
        reached.append(ndcg(trainer.model, valid))
        print(json.dumps({"epoch": len(reached), "seconds": seconds, "ndcg": reached[-1]}), flush=True)


def ranked(model: Any, data: Any) -> Any:
    """Yield the scores of all items for some users after the others, what they had left out, and the true items."""
    model.eval()
    with torch.no_grad():
        for interaction, *_, target in data:
            scores = model.full_sort_predict(interaction).view(len(interaction), -1)
            # Item 0 pads; histories are in the interaction.
            scores.scatter_(1, interaction["item_id_list"], -torch.inf)
            scores[:, 0] = -torch.inf
            yield scores, target


def ndcg(model: Any, data: Any) -> float:
    """Return the mean of 1 / log2(1 + place of the true item), or 0 after the tenth place."""
    gains = []
    for scores, target in ranked(model, data):
        own = scores[torch.arange(len(scores)), target, None]
        place = (scores > own).sum(1).numpy() + 1
        gains.append(np.where(place <= K, 1 / np.log2(1 + place), 0.0))
    return float(np.concatenate(gains).mean())


if __name__ == "__main__":
    main()
