"""Edge functions: remote HTTP functions that the service calls by name.

Importing this package imports neither aiohttp nor requests.
"""

from app.edge.client import EdgeClient, FunctionHealth, Invocation
from app.edge.errors import (
    EXPLANATIONS,
    EdgeError,
    ErrorKind,
    InvalidPath,
    NoTransport,
    RegistryError,
    RegistryFault,
    UnknownFunction,
)
from app.edge.registry import EdgeFunction, EdgeRegistry, Priority, load_registry, parse_registry
from app.edge.transports import EdgeRequest, EdgeResponse, Transport

__all__ = [
    "EXPLANATIONS",
    "EdgeClient",
    "EdgeError",
    "EdgeFunction",
    "EdgeRegistry",
    "EdgeRequest",
    "EdgeResponse",
    "ErrorKind",
    "FunctionHealth",
    "InvalidPath",
    "Invocation",
    "NoTransport",
    "Priority",
    "RegistryError",
    "RegistryFault",
    "Transport",
    "UnknownFunction",
    "load_registry",
    "parse_registry",
]
