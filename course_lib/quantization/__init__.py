"""From float to int8."""
