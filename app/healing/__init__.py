"""What all kinds of fault share: faults and plans, the engine, budget, claims, journal, home.

Standard library only: the healer needs nothing that it may have to heal. No kind is known here.
"""
