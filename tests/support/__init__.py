"""What the tests build for real: wheels, a package index, servers."""
