"""The doctor: everything that would fail in production, found before it does.

It reads the code, the requirements, the lock, the settings and the environment, and starts nothing
of the service: blueprints are imported in a child. :class:`app.doctor.examination.Examination`
is the whole of it.
"""
