"""Visits to the shop: how many, how long, how deep, and whether they bounce."""

import numpy as np

from ecbehave.inputs.facts import ANY
from ecbehave.inputs.feature_names import FeatureName
from ecbehave.inputs.ordering import Flags, changes, grouped_order, paired
from ecbehave.inputs.scene import Columns, Scene, share, trend

_MICROSECONDS_PER_MILLISECOND = 1_000
_MILLISECONDS_PER_SECOND = 1_000


def build(scene: Scene) -> Columns:
    """Yield the features of sessions that start in each window."""
    everything, sessions = scene.everything, scene.sessions
    n_sessions, n_events = sessions.starts.counts(), everything.counts()
    milliseconds = everything.totals(_milliseconds(scene))
    n_new = everything.totals(_is_new_item(scene))
    n_second = everything.totals(sessions.visits.is_second)
    for window, n in n_sessions.items():
        seconds = milliseconds[window] / _MILLISECONDS_PER_SECOND
        yield FeatureName("sessions", ANY, window), n
        yield FeatureName("dwell_seconds", ANY, window), seconds
        yield FeatureName("session_seconds", ANY, window), share(seconds, n)
        yield FeatureName("session_events", ANY, window), share(n_events[window], n)
        yield FeatureName("path_items", ANY, window), share(n_new[window], n)
        yield FeatureName("bounce_share", ANY, window), np.maximum(1 - share(n_second[window], n), 0)
    for window, before in sessions.starts.counts_before().items():
        yield FeatureName("session_trend", ANY, window), trend(n_sessions[window], before)


def _milliseconds(scene: Scene) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return the time spent, as the log has it, or else since the session's event before."""
    if "dwell" in scene.histories.columns:
        return scene.histories.columns["dwell"]
    return scene.sessions.visits.since_last(scene.histories.ts) // _MICROSECONDS_PER_MILLISECOND


def _is_new_item(scene: Scene) -> Flags:
    """Mark the first event with an item in each session."""
    items = scene.histories.columns["item_id"]
    key = paired(scene.sessions.visits.number, items)
    rows = np.flatnonzero(items >= 0)
    rows = rows[grouped_order(key[rows])]
    is_new = np.zeros(items.size, np.bool_)
    is_new[rows[changes(key[rows])]] = True
    return is_new
