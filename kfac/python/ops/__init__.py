"""The public modules: import them from here, `kfac.python.ops.<module>`."""
