"""Measurements that hold the service to its targets: ``make bench`` and ``make bench-image``.

One module a subject, each with a ``measure`` function; a new file here is a new benchmark. Every
target is a ratio of two things measured in the same run, or a bound that no machine should miss.
"""
