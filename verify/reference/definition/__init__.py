"""What a checkpoint's config.json declares, against what the installed library does: single equations on small tensors.

Every other check compares the library with the library, on a device and on a CPU: a release that computes another model
is equal to itself. (transformers 5.10.1 to 5.24.0 leave out the division by `logits_scaling`.)
"""
