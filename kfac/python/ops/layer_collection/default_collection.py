"""The default LayerCollection of the process."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

_default_layer_collection: Any = None


def get_default_layer_collection() -> Any:
  """Returns the default LayerCollection.

  Raises:
    ValueError: If there is none.
  """
  if _default_layer_collection is None:
    raise ValueError(
        "a default layer collection must be set first, got None.")
  return _default_layer_collection


def set_default_layer_collection(layer_collection: Any) -> None:
  """Sets the default LayerCollection.

  Args:
    layer_collection: LayerCollection, or None for none.

  Raises:
    ValueError: If there is one already.
  """
  global _default_layer_collection
  if None not in (_default_layer_collection, layer_collection):
    raise ValueError(
        "layer_collection must be None while there is a default, got "
        f"{layer_collection!r}."
        )
  _default_layer_collection = layer_collection


@contextlib.contextmanager
def as_default(layer_collection: Any) -> Iterator[Any]:
  """Context in which a LayerCollection is the default.

  Args:
    layer_collection: LayerCollection.

  Yields:
    The LayerCollection.
  """
  set_default_layer_collection(layer_collection)
  try:
    yield layer_collection
  finally:
    set_default_layer_collection(None)
