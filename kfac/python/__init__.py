"""The code of kfac, at the paths that it had in contrib."""
