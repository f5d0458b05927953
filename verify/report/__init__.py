"""The adaptation document: a run's records rendered as Markdown in Chinese and English. Nothing else knows of it.

The document is a function of the run's folder alone, its records and the fault campaign that may stand beside them: no
clock, no environment, no path of the machine that renders.
"""
