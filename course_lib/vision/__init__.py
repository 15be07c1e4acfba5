"""Images and models."""
