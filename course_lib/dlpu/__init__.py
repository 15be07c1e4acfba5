"""A file and a SoC: what each chip wants, and the tools that make it."""
