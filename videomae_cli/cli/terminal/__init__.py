"""What a person at a terminal sees, and the streams behind it."""
