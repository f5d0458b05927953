"""Recordings in, text and scores out: manifests, transcripts, their scores, and the comparison of two devices."""
