"""Trainers, for a workstation: twin network (Koch et al. 2015), landmark network, face distillation. Not published."""
