"""Missing packages: diagnosed, installed from the lock, proven, committed as layers."""
