"""The kind of databases: connections, their faults, and their repair."""
