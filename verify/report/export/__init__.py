"""A run in the formats that others take. What would claim more than the run shows is refused, with the reason."""
