"""Trainers, for a workstation: twin network (Koch et al. 2015) for Omniglot or any pictures, landmarks, faces. Not published."""
