"""What the methods of a block were called in TensorFlow 1.5 to 1.7."""


class OldNames:
  """The same methods of a block under their older names."""

  @property
  def num_registered_minibatches(self):
    """Same as num_registered_towers."""
    return self.num_registered_towers

  def register_additional_minibatch(self, *args, **kwargs):
    """Same as register_additional_tower."""
    self.register_additional_tower(*args, **kwargs)
