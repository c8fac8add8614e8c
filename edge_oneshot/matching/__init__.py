"""From an embedding to a decision, a track result and its evidence. Pure: no I/O, no threads, no clock."""
