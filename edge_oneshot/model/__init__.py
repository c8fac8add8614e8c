"""A model and its card: the bundle file, the card, the interpreter, the encoder."""
