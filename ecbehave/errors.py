"""The exceptions a user can meet; each carries the exit code of the process."""


class EcbehaveError(Exception):
    """An error with one message for the user: what is wrong, where, how many, what to do."""

    exit_code = 1


class ConfigError(EcbehaveError):
    """The command line or the YAML is wrong."""

    exit_code = 2


class DataError(EcbehaveError):
    """The shop's data cannot answer what was asked."""

    exit_code = 3


class ArtifactError(EcbehaveError):
    """An artifact, the lock or the disk stands in the way."""

    exit_code = 4


class GateError(EcbehaveError):
    """The model does not beat its baseline, and the config demands that it does."""

    exit_code = 5

    def __init__(self, message: str, outcome: object) -> None:
        super().__init__(message)
        self.outcome = outcome
        """What was published all the same."""


class InterruptedRunError(EcbehaveError):
    """The user has stopped the run (Ctrl-C)."""

    exit_code = 130
