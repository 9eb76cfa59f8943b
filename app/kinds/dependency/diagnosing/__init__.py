"""Why an import failed: the exception, who takes part in it, and the diagnosis."""
