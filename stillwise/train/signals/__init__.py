"""What a teacher says about each token of a row: live, served, or from a cache on disk."""
