"""What the quadratic model says about the steps of an optimizer."""

import tensorflow.compat.v1 as tf

from kfac.python.ops.optimizer import norm_constraint
from kfac.python.ops.optimizer import quadratic_model
from kfac.python.ops.utils import scalars


class QuadraticSteps:
  """Mixin of KfacOptimizer: picks alpha and mu, and foretells changes."""

  def _approximate_change(self, grads_and_vars, steps):
    """What the quadratic model foretells, with F as it is approximated."""
    updates = [
        (-scalars.cast_scalar(self._learning_rate_value(), step.dtype) *
         tf.convert_to_tensor(step), variable) for step, variable in steps]
    products = self._fisher_est.multiply(updates)
    grads = {variable: grad for grad, variable in grads_and_vars}
    updates_alone = [update for update, _ in updates]
    return (norm_constraint.inner_product(
        [grads[variable] for _, variable in updates], updates_alone) +
            norm_constraint.inner_product(
                updates_alone, [product for product, _ in products]) / 2.)

  def _compute_qmodel_hyperparams(self, precon_grads_and_vars,
                                  prev_updates_and_vars, grads_and_vars,
                                  variables=None):
    """Minimises the quadratic model.

    Args:
      precon_grads_and_vars: List of (P g, variable), the direction d1.
      prev_updates_and_vars: List of (previous update, variable), d2.
      grads_and_vars: List of (g, variable).
      variables: List of variables; those of the gradients if None.

    Returns:
      Scalars alpha and mu, and the change of the model.
    """
    variables = variables or [variable for _, variable in grads_and_vars]
    grads, *directions = (
        [tf.convert_to_tensor(dict((v, t) for t, v in pairs)[variable])
         for variable in variables]
        for pairs in (grads_and_vars, precon_grads_and_vars,
                      prev_updates_and_vars))
    losses = self._qmodel_losses or self._layers.losses
    M = quadratic_model.curvature(
        losses, variables, directions, self.damping, self._batch_size,
        self._qmodel_example_weights)
    c = tf.stack([norm_constraint.inner_product(grads, d)
                  for d in directions])
    coefficients, change = quadratic_model.minimum(M, c)
    return coefficients[0], coefficients[1], change
