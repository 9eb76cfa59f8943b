"""The doctor: everything that would fail in production, found before it does.

:class:`app.doctor.examination.Examination` is the whole of it.
"""
