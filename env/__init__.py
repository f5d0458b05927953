"""The machine and its packages: probe, audit, doctor, build. Nothing here imports torch."""
