"""Omniglot: the alphabets on which the method is trained, validated and reported."""
