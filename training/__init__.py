"""Trainers, for a workstation: twin network (Koch et al. 2015) on Omniglot or any pictures, landmark network, face distillation. Not published."""
