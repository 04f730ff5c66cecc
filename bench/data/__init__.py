"""Questions with their images and true answers."""
