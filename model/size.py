"""How many parameters make a model full-size: one number for everything that depends on it."""

from __future__ import annotations

# In parameters. The bundled checkpoint and synthetic:tiny have 4 million, synthetic:wide
# has 180 million and the real one 2.3 billion. Below it every layer can be watched, in float64, and layers take
# microseconds: OpenMP's barriers then cost more than the arithmetic, and one thread beats two by 2.6 to 3.6 times on a
# busy machine.
FULL_SIZE = 50_000_000
