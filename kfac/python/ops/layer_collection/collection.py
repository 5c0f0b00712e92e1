"""LayerCollection: what the optimizer has to know about a model."""

from __future__ import annotations

import collections
import contextlib
import math
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any

import tensorflow.compat.v1 as tf

from kfac.python.ops import utils
from kfac.python.ops.layer_collection import approximations
from kfac.python.ops.layer_collection import convolutions
from kfac.python.ops.layer_collection import embeddings
from kfac.python.ops.layer_collection import losses
from kfac.python.ops.layer_collection import parameters
from kfac.python.ops.utils import hints

_default_layer_collection = None


def get_default_layer_collection() -> LayerCollection | None:
  """Returns the default LayerCollection.

  Raises:
    ValueError: If there is none.
  """
  if _default_layer_collection is None:
    raise ValueError(
        "a default layer collection must be set first, got None.")
  return _default_layer_collection


def set_default_layer_collection(
    layer_collection: LayerCollection | None) -> None:
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


def _default_of(kind) -> Any:
  def get(self) -> str:
    return self._defaults[kind]
  get.__doc__ = f"Name of the approximation of {kind} by default."
  return property(get)


def _set_default_of(kind) -> Any:
  def set_default(self, value: str) -> None:
    approximations.check_approximation(kind, value)
    self._defaults[kind] = value
  set_default.__doc__ = (
      f"Sets the approximation of {kind} by default, a name.")
  return set_default


class LayerCollection(losses.LossRegistrations,
                      convolutions.ConvolutionRegistrations,
                      embeddings.EmbeddingRegistrations):
  """Layers and losses of a model, and the blocks and factors made for them.

  Attributes:
    fisher_blocks: LayerParametersDict from the parameters of a layer to its
      FisherBlock.
    fisher_factors: Dict from (class, arguments) to FisherFactor.
    loss_colocation_ops: Dict from a loss to the op it is evaluated beside.
  """

  def __init__(self, graph: tf.Graph | None = None,
               name: str = "LayerCollection", *,
               colocate_cov_ops_with_inputs: bool = False) -> None:
    """Makes an empty collection.

    Args:
      graph: The graph of the model; the default graph if None.
      name: Name, made unique in the graph.
      colocate_cov_ops_with_inputs: An argument of TensorFlow 1.5 that makes
        no difference; see the constant of fisher_factors of this name.
    """
    del colocate_cov_ops_with_inputs
    self.fisher_blocks = parameters.LayerParametersDict()
    self.fisher_factors = collections.OrderedDict()
    self.loss_colocation_ops = {}
    self._graph = graph or tf.get_default_graph()
    self._loss_dict = collections.OrderedDict()
    self._linked_parameters = {}
    self._vars_to_uses = collections.OrderedDict()
    self._subgraph = None
    self._defaults = dict(approximations.DEFAULTS)
    with self._graph.as_default(), tf.variable_scope(None, name) as scope:
      self._var_scope = scope.name

  # How TensorFlow 1.4 called it.
  reset_internals = __init__

  default_embedding_approximation = _default_of("embedding")
  set_default_embedding_approximation = _set_default_of("embedding")
  default_generic_approximation = _default_of("generic")
  set_default_generic_approximation = _set_default_of("generic")
  default_fully_connected_approximation = _default_of("fully_connected")
  set_default_fully_connected_approximation = _set_default_of(
      "fully_connected")
  default_conv2d_approximation = _default_of("conv2d")
  set_default_conv2d_approximation = _set_default_of("conv2d")
  default_fully_connected_multi_approximation = _default_of(
      "fully_connected_multi")
  set_default_fully_connected_multi_approximation = _set_default_of(
      "fully_connected_multi")
  default_conv2d_multi_approximation = _default_of("conv2d_multi")
  default_embedding_multi_approximation = _default_of("embedding_multi")

  @property
  def graph(self) -> tf.Graph:
    """The graph of the model."""
    return self._graph

  @property
  def subgraph(self) -> utils.SubGraph | None:
    """SubGraph that the losses depend on; None before create_subgraph."""
    return self._subgraph

  @property
  def registered_variables(self) -> tuple:
    """Tuple of all variables of registered layers."""
    return tuple(variable for key in self.fisher_blocks
                 for variable in utils.ensure_sequence(key))

  @property
  def generic_registrations(self) -> set:
    """Variables that may be used any number of times (1.4)."""
    return {variable for variable, uses in self._vars_to_uses.items()
            if math.isinf(uses)}

  @property
  def linked_parameters(self) -> dict:
    """Dict from frozensets of variables to an approximation or None."""
    return self._linked_parameters

  def define_linked_parameters(self, params: hints.Vector,
                               approximation: str | None = None) -> None:
    """Says that some variables belong together, and how to approximate them.

    Args:
      params: Variable, or list of variables.
      approximation: Name of the approximation if none is given when they are
        registered; None leaves it to the default.

    Raises:
      ValueError: If one of them is linked or registered already, or if there
        is no such approximation.
    """
    group = frozenset(utils.ensure_sequence(params))
    taken = set(self.registered_variables).union(*self._linked_parameters)
    for variable in group & taken:
      raise ValueError(
          "params must not be linked or registered already, got "
          f"{variable.name}.")
    names = {name for table in approximations.APPROXIMATIONS.values()
             for name in table}
    if approximation is not None and approximation not in names:
      raise ValueError(
          f"approximation must be one of {sorted(names)}, got "
          f"{approximation!r}.")
    self._linked_parameters[group] = approximation

  def _get_linked_approx(self, params):
    return self._linked_parameters.get(
        frozenset(utils.ensure_sequence(params)))

  def _add_uses(self, params, uses):
    for variable in utils.ensure_sequence(params):
      self._vars_to_uses[variable] = (
          self._vars_to_uses.get(variable, 0) + uses)

  def get_use_count_map(self) -> dict:
    """Returns a dict from variables to the number of registered uses."""
    return dict(self._vars_to_uses)

  def check_registration(self, variables: Sequence[Any]) -> None:
    """Checks that exactly some variables are registered, for all their uses.

    Args:
      variables: List of variables.

    Raises:
      ValueError: If not; it names all that is wrong.
    """
    uses = self.get_use_count_map()
    wrong = []
    for variable in variables:
      if variable not in uses:
        wrong.append(f"{variable.name} is not registered")
      elif not math.isinf(uses[variable]):
        found = self._subgraph.variable_uses(variable)
        if found != uses[variable]:
          wrong.append(
              f"{variable.name} is registered for {uses[variable]} uses, the "
              f"losses use it {found} "
                       "times")
    passed = set(variables)
    wrong += [f"{variable.name} is registered but not passed"
              for variable in self.registered_variables
              if variable not in passed]
    if wrong:
      raise ValueError(
          "variables must be those registered, for all their uses, got: {}."
          .format("; ".join(wrong)))

  def get_blocks(self) -> list:
    """Returns the blocks, in the order of registration."""
    return tuple(self.fisher_blocks.values())

  def get_factors(self) -> list:
    """Returns the factors, in the order in which they were made."""
    return tuple(self.fisher_factors.values())

  def create_subgraph(self) -> None:
    """Finds what the losses depend on.

    Raises:
      ValueError: If no loss is registered.
    """
    if not self.losses:
      raise ValueError("at least one loss must be registered, got none.")
    self._subgraph = utils.SubGraph(
        [tensor for loss in self.losses for tensor in tf.nest.flatten(
            loss.inputs)])

  def make_or_get_factor(self, cls: type, args: Any) -> Any:
    """Makes a factor, or returns the one made of the same arguments.

    Args:
      cls: Class of the factor.
      args: Tuple of hashable arguments of its constructor.

    Returns:
      FisherFactor.

    Raises:
      TypeError: If the arguments are not hashable.
    """
    key = cls, args
    try:
      hash(key)
    except TypeError as error:
      raise TypeError(f"args must be hashable, got {args!r}.") from error
    if key not in self.fisher_factors:
      with tf.variable_scope(self._var_scope):
        self.fisher_factors[key] = cls(*args)
    return self.fisher_factors[key]

  @contextlib.contextmanager
  def as_default(self) -> Iterator[LayerCollection]:
    """Context in which this is the default LayerCollection.

    Yields:
      This collection.
    """
    set_default_layer_collection(self)
    try:
      yield self
    finally:
      set_default_layer_collection(None)
