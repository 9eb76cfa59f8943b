"""What can be observed of the service while it runs: log lines, traces, series."""
