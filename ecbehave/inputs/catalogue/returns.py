"""What goes back, against what was bought."""

from ecbehave.inputs.feature_names import FeatureName
from ecbehave.inputs.scene import Columns, Scene, share


def build(scene: Scene) -> Columns:
    """Yield returns over purchases, in rows and in money."""
    bought, returned = scene.of("purchase"), scene.of("return")
    n_bought, n_returned = bought.counts(), returned.counts()
    spent = bought.totals(scene.column("amount", bought))
    refunded = returned.totals(scene.column("amount", returned))
    for window, n in n_bought.items():
        yield FeatureName("return_share", "return", window), share(n_returned[window], n)
        yield FeatureName("return_money", "return", window), share(refunded[window], spent[window])
