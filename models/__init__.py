"""Networks as xai sees them, and the one way to name and load one."""
