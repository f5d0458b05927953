"""The checks, their records, the verdict and the report."""
