"""The commands of `xai`, one file each. Nothing heavy is imported before a command runs."""
