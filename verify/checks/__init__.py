"""The checks themselves: each a function from a Context to an Outcome, listed in verify/plan.py."""
