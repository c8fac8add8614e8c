"""python -m converters: the command edge-oneshot-convert, from a checkout."""

from converters.command import main

if __name__ == "__main__":
    main()
