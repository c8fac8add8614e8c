"""The daemon process: the loop, its wiring, and the requests that it answers."""
