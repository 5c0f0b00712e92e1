"""What the methods of a block were called in TensorFlow 1.5 to 1.7."""

from __future__ import annotations

from typing import Any


class OldNames:
  """The same methods of a block under their older names."""

  @property
  def num_registered_minibatches(self) -> int:
    """Same as num_registered_towers."""
    return self.num_registered_towers

  def register_additional_minibatch(self, *args: Any, **kwargs: Any) -> None:
    """Same as register_additional_tower."""
    self.register_additional_tower(*args, **kwargs)
