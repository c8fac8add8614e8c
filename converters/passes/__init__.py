"""Small functions on a graph, each of which leaves the float result as it was (a test for each says how closely)."""
