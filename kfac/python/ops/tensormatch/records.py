"""What a search of a graph finds: uses of variables, and layers of uses."""

from __future__ import annotations

from typing import Any
from typing import NamedTuple


class AmbiguousRegistrationError(ValueError):
  """Raised if the layers of some variables cannot be told from the graph."""


class Use(NamedTuple):
  """An op, or a region of ops, that computes with the value of a variable.

  Attributes:
    kind: Key of automatic.REGISTER, such as "dense"; "scale" or "shift" for
      elementwise uses.
    op: The first op that computes with the value.
    inputs: Input tensor of the layer. For a scale None: the inputs are the
      derivative of the outputs, see `region`.
    outputs: Output tensor.
    settings: Dict of the other arguments of the registration. All uses of a
      layer have the same.
    num_outputs: Number of features or channels of the outputs; the size of a
      bias.
    region: For elementwise uses, the elementwise.Region.
    later: For elementwise uses, pairs (outputs, Region) that would do, too.
  """

  kind: str
  op: Any
  inputs: Any
  outputs: Any
  settings: dict
  num_outputs: int | None = None
  region: Any = None
  later: tuple = ()


class Unknown(NamedTuple):
  """A use that is no layer.

  Attributes:
    op: The op.
    reason: Why, as the rest of a sentence that starts with the variable.
  """

  op: Any
  reason: str


class Layer(NamedTuple):
  """Variables that are one layer.

  Attributes:
    kind: Key of automatic.REGISTER.
    variables: Tuple of variables, the weights first.
    towers: List over towers of the list of Uses of the weights, in the order
      in which they depend on each other; empty if the layer is "generic".
    ops: Names of the ops that use the variables.
    reason: Why the layer is generic; None otherwise.
  """

  kind: str
  variables: tuple
  towers: list
  ops: tuple
  reason: str | None = None
