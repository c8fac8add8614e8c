"""Bridges to other systems: each is a process of its own, which asks the daemon over its control socket."""
