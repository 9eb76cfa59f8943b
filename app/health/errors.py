"""What can be wrong with the checks that a service is given.

HealthConfigurationError
+-- InvalidDuration
+-- DuplicateCheck
+-- UnknownCheck
"""

from __future__ import annotations


class HealthConfigurationError(Exception):
    """The checks or their groups do not fit together: a mistake in the code, met at the start."""


class InvalidDuration(HealthConfigurationError):
    """A check's timeout or interval is no positive number of seconds."""

    def __init__(self, check: str, name: str, value: float) -> None:
        self.check, self.name, self.value = check, name, value
        super().__init__(f"{name} of health check {check!r} is {value}, not above 0 s")


class DuplicateCheck(HealthConfigurationError):
    """Two checks have one name."""

    def __init__(self, check: str) -> None:
        self.check = check
        super().__init__(f"there are two health checks of the name {check!r}")


class UnknownCheck(HealthConfigurationError):
    """A group names a check that there is not."""

    def __init__(self, group: str, check: str) -> None:
        self.group, self.check = group, check
        super().__init__(f"health group {str(group)!r} names {check!r}, which is no check")
