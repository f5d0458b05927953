"""Faults as data: what a broken device, stack or checkpoint does to a run, injected into an unmodified program."""
