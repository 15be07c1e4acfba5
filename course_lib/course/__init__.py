"""The classroom: checks, plots, the set-up check."""
