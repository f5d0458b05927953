"""The fault campaign: verify is run with one planted fault after another, and what it sees of each is kept."""
