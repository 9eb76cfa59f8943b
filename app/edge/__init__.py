"""Edge functions: remote HTTP functions that the service calls by name.

Importing this package imports neither aiohttp nor requests.
"""

from app.edge.calls import Invocation
from app.edge.client import EdgeClient
from app.edge.errors import (
    EXPLANATIONS,
    BodyBroken,
    BodyTooLarge,
    BodyTooSlow,
    CallFailed,
    CircuitOpen,
    ErrorKind,
    InvalidPath,
    MethodRefused,
    NoTransport,
    Saturated,
    UnknownFunction,
)
from app.edge.functions import EdgeFunction, EdgeRegistry, Priority
from app.edge.health import EdgeMonitor, FunctionHealth, HealthState
from app.edge.protection import BreakerState
from app.edge.registry import RegistryFile
from app.edge.transports import CallerBody

__all__ = [
    "EXPLANATIONS",
    "BodyBroken",
    "BodyTooLarge",
    "BodyTooSlow",
    "BreakerState",
    "CallFailed",
    "CallerBody",
    "CircuitOpen",
    "EdgeClient",
    "EdgeFunction",
    "EdgeMonitor",
    "EdgeRegistry",
    "ErrorKind",
    "FunctionHealth",
    "HealthState",
    "InvalidPath",
    "Invocation",
    "MethodRefused",
    "NoTransport",
    "Priority",
    "RegistryFile",
    "Saturated",
    "UnknownFunction",
]
