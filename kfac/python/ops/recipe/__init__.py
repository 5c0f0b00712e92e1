"""One configuration of K-FAC for all models: from a loss to a train op."""

from kfac.python.ops.recipe.recipe import Recipe

__all__ = ["Recipe"]
