"""Training, validation and evaluation of a twin network on the alphabets of Omniglot."""
