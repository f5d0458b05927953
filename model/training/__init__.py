"""Makes the bundled stand-in checkpoint from nothing: a small Granite-Speech trained on synthetic spoken numbers."""
