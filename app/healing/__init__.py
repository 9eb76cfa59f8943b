"""The parts of the engine that detect, decide, install, prove and remember.

Standard library only: the healer needs nothing that it may have to heal. Nothing here imports
anything else of ``app``.
"""
