"""Terminal output: messages, tables, progress, and the standard streams."""
