"""Train a twin network on a folder of pictures, one folder per class, and write a bundle for the device."""
