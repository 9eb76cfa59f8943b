"""What the HTTP API is, as data: the OpenAPI document and how the page reads it.

It stands below the blueprints and imports none of them: what one answers with is described even
when it cannot be imported. Bodies come from :mod:`app.routes.bodies`, problems from
:mod:`app.web.problem_table`, headers from :mod:`app.web.headers`; what is written here is which
operations there are. msgspec makes the schemas, so only the ``docs`` blueprint needs it.
"""
