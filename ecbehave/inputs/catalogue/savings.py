"""What the user saves by discounts and coupons."""

from ecbehave.inputs.feature_names import FeatureName
from ecbehave.inputs.scene import Columns, Scene, share


def build_discounts(scene: Scene) -> Columns:
    """Yield the use of discounts."""
    return _of(scene, "discount")


def build_coupons(scene: Scene) -> Columns:
    """Yield the use of coupons."""
    return _of(scene, "coupon")


def _of(scene: Scene, column: str) -> Columns:
    """Yield the share of rows with a saving, and the share of money that it saves."""
    event = scene.facts.main
    rows = scene.of(event)
    columns = [c for c in ("amount", "discount", "coupon") if c in scene.histories.columns]
    full = rows.totals(sum(scene.column(c, rows) for c in columns))  # type: ignore[arg-type]
    saving = scene.column(column, rows)
    saved, n_saved, counts = rows.totals(saving), rows.totals(saving > 0), rows.counts()
    for window, n in counts.items():
        yield FeatureName(f"{column}_share", event, window), share(saved[window], full[window])
        yield FeatureName(f"{column}_use", event, window), share(n_saved[window], n)
