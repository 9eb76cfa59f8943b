"""Edge functions: remote HTTP functions that the service calls by name.

Importing this package imports neither aiohttp nor requests.
"""

from app.edge.bodies import CallerBody
from app.edge.breaker import Breaker, BreakerState
from app.edge.client import EdgeClient
from app.edge.errors import (
    EXPLANATIONS,
    BodyBroken,
    BodyTooLarge,
    BodyTooSlow,
    CallerFault,
    CircuitOpen,
    EdgeError,
    ErrorKind,
    InvalidPath,
    MethodRefused,
    NoTransport,
    Refused,
    RegistryError,
    RegistryFault,
    Saturated,
    UnknownFunction,
)
from app.edge.exchange import CallFailed, EdgeRequest, EdgeResponse, Reply
from app.edge.functions import EdgeFunction, EdgeRegistry, Priority
from app.edge.health import FunctionHealth, HealthState
from app.edge.invocation import Invocation
from app.edge.monitor import EdgeMonitor
from app.edge.registry import load_registry, parse_registry
from app.edge.registry_file import RegistryFile
from app.edge.transports import Transport

__all__ = [
    "EXPLANATIONS",
    "BodyBroken",
    "BodyTooLarge",
    "BodyTooSlow",
    "Breaker",
    "BreakerState",
    "CallFailed",
    "CallerBody",
    "CallerFault",
    "CircuitOpen",
    "EdgeClient",
    "EdgeError",
    "EdgeFunction",
    "EdgeMonitor",
    "EdgeRegistry",
    "EdgeRequest",
    "EdgeResponse",
    "ErrorKind",
    "FunctionHealth",
    "HealthState",
    "InvalidPath",
    "Invocation",
    "MethodRefused",
    "NoTransport",
    "Priority",
    "Refused",
    "RegistryError",
    "RegistryFault",
    "RegistryFile",
    "Reply",
    "Saturated",
    "Transport",
    "UnknownFunction",
    "load_registry",
    "parse_registry",
]
