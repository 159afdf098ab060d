"""HTML reports and their index."""
