"""The operator's commands and the doctor."""
