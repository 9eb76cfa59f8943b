"""What keeps one blueprint from hurting the others: states, quarantine, the hot application."""
