"""What the shop knows of a user, as it was known at the cutoff."""

import numpy as np
import polars as pl

from ecbehave.inputs.feature_names import FeatureName
from ecbehave.inputs.histories import Timelines, encoded
from ecbehave.inputs.ordering import LONG_AGO, running
from ecbehave.inputs.scene import Columns, Scene


def build(scene: Scene) -> Columns:
    """Yield the user's attributes: those of the last row that was known before the cutoff."""
    asked, names = encoded(scene.user_ids)
    users = pl.DataFrame({"user_id": names, "user": np.arange(names.len())})
    rows = (
        scene.attributes.join(users, on="user_id", maintain_order="left")
        .with_columns(since=pl.col("known_from").dt.timestamp("us").fill_null(LONG_AGO))
        .sort("user", "since", maintain_order=True)
    )
    place, since = (rows[c].cast(pl.Int64).to_numpy() for c in ("user", "since"))
    known = Timelines(since, running(np.bincount(place, minlength=users.height + 1)))
    last = np.full(asked.size, -1, np.int64)
    for moment, part in scene.asked.moments:
        position = known.before(moment.cutoff, asked[part])
        last[part] = np.where(position > known.offsets[asked[part]], position - 1, -1)
    chosen = pl.Series(last).replace(-1, None)
    for attribute in scene.facts.attributes:
        yield FeatureName("attribute", attribute), rows[attribute].cast(pl.String).gather(chosen)
