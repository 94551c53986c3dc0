"""Several processes that run one command together, as `torchrun` starts them; only train can be shared.

The first one does what a process alone does. The others do the same work in a scratch folder of their own, publish
nothing, hold no lock and say nothing: they are there for the gradients.
"""

import os
from collections.abc import Mapping

from ecbehave.config import Config
from ecbehave.errors import ConfigError


def is_follower(environment: Mapping[str, str] = os.environ) -> bool:
    """Tell whether this process is one of several, and not the first one."""
    return n_processes(environment) > 1 and environment.get("RANK", "0") != "0"


def n_processes(environment: Mapping[str, str] = os.environ) -> int:
    """Return how many processes run the command together."""
    return int(environment.get("WORLD_SIZE", "1"))


def check(command: str, config: Config, environment: Mapping[str, str] = os.environ) -> None:
    """Refuse what several processes cannot do together.

    Raises:
        ConfigError: it is another command than train, or train with a search for settings.
    """
    n = n_processes(environment)
    if n > 1 and command != "train":
        raise ConfigError(
            f"{n} processes were started together (WORLD_SIZE is {n}), but only ecbehave train can be shared; "
            f"run ecbehave {command} without torchrun"
        )
    if n > 1 and config.tune is not None:
        raise ConfigError(
            f"tune: {n} processes cannot search for settings together; search in one process, and train with the "
            f"tuned.yaml that it leaves"
        )
