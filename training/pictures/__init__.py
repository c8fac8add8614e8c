"""Train a twin network on a folder of pictures, one folder per class, and make the device's bundle of it."""
