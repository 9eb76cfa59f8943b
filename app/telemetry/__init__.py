"""What the service tells while it runs: whose request a line belongs to, traces, series."""
