"""The thing being adapted: device, checkpoint, audio, components, transcription."""
