"""A frame to decisions, and a capture to a template."""
