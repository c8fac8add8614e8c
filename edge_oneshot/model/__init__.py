"""A model file and what its card says: reading, running, encoding."""
