"""A run as a pipeline: its configuration, its manifest, and what it takes over from other runs."""
