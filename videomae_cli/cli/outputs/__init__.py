"""Output destinations and formats of the commands' results."""
