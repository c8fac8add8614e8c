"""Passes: functions that edit a graph and keep its float result. A test for each states the tolerance."""
