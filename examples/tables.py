"""Tables of training runs, with sentences that explain and summarize them.

The functions take runner.Histories. A comparison asks when each optimizer
reaches the lowest loss of momentum, and that of Adam.
"""

# What a comparison counts: an attribute of History, its format, and how a
# sentence names two counts of it.
MEASURES = (("updates", "d", "{} updates instead of {}"),
            ("seconds", ".1f", "{} s instead of {} s"))
NOT_REACHED = "-"


def align(rows):
  """Returns the lines of a table, given as rows of strings."""
  widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
  return ["  ".join([row[0].ljust(widths[0]), *(
      cell.rjust(width)
      for cell, width in zip(row[1:], widths[1:], strict=True))])
          for row in rows]


def format_loss(loss):
  """Returns a loss as text, with four digits."""
  return f"{loss:.4g}"


def make_runs(histories):
  """Returns the lines of a table with a row for each run.

  Args:
    histories: List of runner.Histories, at least one.
  """
  has_accuracies = all(history.accuracies for history in histories)
  examples = histories[0].examples
  rows = [["optimizer", "learning rate", "updates", "seconds of training",
           f"lowest {examples} loss", f"final {examples} loss"]
          + ["final test accuracy"] * has_accuracies]
  for history in histories:
    suffix = ", diverged" if history.has_diverged() else ""
    rows.append([
        history.label, f"{history.learning_rate:g}", str(history.updates[-1]),
        f"{history.seconds[-1]:.1f}", format_loss(history.lowest_loss()),
        format_loss(history.losses[-1]) + suffix])
    if has_accuracies:
      rows[-1].append(f"{history.accuracies[-1]:.2%}")
  return align(rows)


def make_comparison(histories):
  """Returns the lines of a table with a column for each optimizer.

  For the lowest loss of each optimizer other than K-FAC, the table has the
  updates and the seconds after which each optimizer has reached it. The last
  column compares K-FAC with the optimizer whose lowest loss it is.

  Args:
    histories: List of runner.Histories, one per optimizer; one is of K-FAC.
  """
  kfac, others = _split(histories)
  rows = [["", *(history.label for history in histories),
           f"{kfac.label} needs"]]
  for other in others:
    goal = other.lowest_loss()
    for measure, spec, _ in MEASURES:
      rows.append([f"{measure} until {_describe_goal(other)}"])
      for history in histories:
        count = _count_until(history, goal, measure)
        rows[-1].append(NOT_REACHED if count is None else f"{count:{spec}}")
      rows[-1].append(_compare(_count_until(kfac, goal, measure),
                               _count_until(other, goal, measure)))
  return align(rows)


def describe_results(histories):
  """Returns one sentence per optimizer other than K-FAC.

  Args:
    histories: List of runner.Histories, one per optimizer; one is of K-FAC.
  """
  kfac, others = _split(histories)
  return [_describe_result(kfac, other) for other in others]


def print_runs(histories, num_images):
  """Prints the table of runs, and what its columns mean.

  Args:
    histories: List of runner.Histories, at least one.
    num_images: Number of images over which losses are means.
  """
  print("\n".join(make_runs(histories)))
  print(f"A loss is the mean over {num_images:,} {histories[0].examples} "
        "images in nats, an update is one step on one batch, and the "
        "seconds are those of the updates, without evaluations; less is "
        "better.", flush=True)


def print_report(histories, num_images):
  """Prints the runs, and compares K-FAC with the others if there are any.

  Args:
    histories: List of runner.Histories, at most one per optimizer.
    num_images: Number of images over which losses are means.
  """
  print_runs(histories, num_images)
  kfac, others = _split(histories)
  if kfac is None or not others:
    return
  print()
  print("\n".join(make_comparison(histories)))
  print("Updates and seconds are counted until the first evaluation at which "
        f"the {kfac.examples} loss is at most the one in parentheses; fewer "
        f"are better, and {NOT_REACHED} means that it was not reached.\n")
  print("\n".join(describe_results(histories)), flush=True)


def _split(histories):
  """Returns the History of K-FAC, or None, and the list of the others."""
  kfac = next((history for history in histories
               if history.optimizer == "kfac"), None)
  return kfac, [history for history in histories if history is not kfac]


def _describe_goal(history):
  """Returns for instance "Adam's lowest loss (60.58)"."""
  return f"{history.label}'s lowest loss ({format_loss(history.lowest_loss())})"


def _count_until(history, goal, measure):
  """Returns the updates or seconds until a loss, or None."""
  index = history.first_at(goal)
  return None if index is None else getattr(history, measure)[index]


def _compare(count, other):
  """Compares a count with another, for instance as "2.0 times fewer".

  Args:
    count: Number, or None.
    other: Number, or None.
  """
  if not count or not other:
    return NOT_REACHED
  if count <= other:
    ratio, word = other / count, "fewer"
  else:
    ratio, word = count / other, "more"
  ratio = f"{ratio:.1f}"
  return "as many" if ratio == "1.0" else f"{ratio} times {word}"


def _describe_result(kfac, other):
  """Returns a sentence that compares K-FAC with another optimizer."""
  goal = other.lowest_loss()
  if not other.first_at(goal):  # None if all losses are NaN.
    return f"{other.label} did not improve on its initial loss."
  if kfac.first_at(goal) is None:
    return (f"{kfac.label} did not reach {_describe_goal(other)}; its own is "
            f"{format_loss(kfac.lowest_loss())}.")
  parts, ratios = [], []
  for measure, spec, phrase in MEASURES:
    count, by_other = (_count_until(history, goal, measure)
                       for history in (kfac, other))
    ratios.append(_compare(count, by_other))
    counts = phrase.format(f"{count:{spec}}", f"{by_other:{spec}}")
    parts.append(f"in {counts} ({ratios[-1]})")
  link = "but" if "more" in ratios[1] and "fewer" in ratios[0] else "and"
  return (f"{kfac.label} reached {_describe_goal(other)} {parts[0]} {link} "
          f"{parts[1]}.")
