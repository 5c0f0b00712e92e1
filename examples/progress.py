"""Shows how far a training run is."""

import sys

from examples import extras


class Progress:
  """A progress bar, or one line per evaluation if tqdm is not installed.

  Args:
    label: Name of the optimizer.
    num_updates: Number of updates of the run.
  """

  def __init__(self, label, num_updates):
    self._label = label
    self._num_updates = num_updates
    self._bar = None
    tqdm = extras.import_or_none("tqdm")
    if tqdm and sys.stderr is not None:  # It is None if it is closed.
      self._bar = tqdm.tqdm(total=num_updates, desc=self._label.ljust(8),
                            unit="update", ncols=100)

  def show(self, history):
    """Shows the last evaluation of a runner.History."""
    update = history.updates[-1]
    text = history.describe_last()
    if self._bar is not None:
      self._bar.set_postfix_str(text, refresh=False)
      self._bar.update(update - self._bar.n)
    else:
      print(f"{self._label} {update}/{self._num_updates}: {text}", flush=True)

  def end_here(self):
    """Makes the updates so far the whole run, since it has reached its aim."""
    if self._bar is not None:
      self._bar.total = self._bar.n
      self._bar.refresh()

  def close(self):
    """Closes the bar."""
    if self._bar is not None:
      self._bar.close()
