"""Edge functions: remote HTTP functions that the service calls by name.

Importing this package imports neither aiohttp nor requests.
"""

from app.edge.calls import Invocation
from app.edge.client import EdgeClient
from app.edge.functions import EdgeFunction, EdgeRegistry, Priority
from app.edge.health import EdgeMonitor, FunctionHealth, HealthState
from app.edge.protection import BreakerState
from app.edge.registry import RegistryFile
from app.edge.transports import CallerBody

__all__ = [
    "BreakerState",
    "CallerBody",
    "EdgeClient",
    "EdgeFunction",
    "EdgeMonitor",
    "EdgeRegistry",
    "FunctionHealth",
    "HealthState",
    "Invocation",
    "Priority",
    "RegistryFile",
]
