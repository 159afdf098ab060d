"""Other ways to serve the same trees: their small applications, and their packages, pinned, a file each."""
