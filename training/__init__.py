"""Workstation side: the two-stage training of a twin network (Koch et al. 2015). Never imported by the device."""
