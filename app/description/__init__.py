"""What the HTTP API is, as data: the OpenAPI document and how the page reads it.

It stands beside the routes and below them: it imports no route, no Flask, and nothing outside the
standard library and the closed sets (causes, outcomes, states) that it enumerates.
"""

from app.description.document import VERSION, describe
from app.description.outline import Outline, outline
from app.description.page import Section, sections, shared_headers

__all__ = ["VERSION", "Outline", "Section", "describe", "outline", "sections", "shared_headers"]
