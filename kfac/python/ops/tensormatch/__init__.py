"""How variables of a graph are used: what registers layers by itself."""
