"""What every room stands on: errors, files, text, progress, the process. Imports nothing of xai."""
