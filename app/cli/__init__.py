"""The operator's commands: ``flask auto-fix …``, or ``python -m app.cli …`` without Flask.

Importing this package imports nothing else: click itself may be what is missing.
"""
