"""Files made for a project: its locks and wheelhouses, and edits of requirements and manifest."""
