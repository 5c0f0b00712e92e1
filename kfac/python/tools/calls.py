"""Calls whose arguments meant something else in an older release."""

from __future__ import annotations

import ast

from . import renames
from . import scopes
from . import sources


def callable_name(scope: scopes.Scope, node: ast.Call) -> str | None:
  """Names the callable of a call as the tables do.

  Args:
    scope: Scope of the call.
    node: ast.Call.

  Returns:
    Name with a row in the tables, or None.
  """
  dotted = scope.resolve(node.func) or ""
  parts = dotted.split(".")
  if parts[0] == "kfac" and len(parts) > 2:
    name = "{}.{}".format(parts[-2].removesuffix("_lib"), parts[-1])
  elif parts[0] == "kfac" and parts[-1] in ("KfacOptimizer", "LayerCollection"):
    name = {"KfacOptimizer": "optimizer.",
            "LayerCollection": "layer_collection."}[parts[-1]] + parts[-1]
  elif isinstance(node.func, ast.Attribute):
    name = node.func.attr
  else:
    return None
  return name if renames.is_known(name) else None


def positional_edits(source: sources.Source, name: str, node: ast.Call,
                     release: str) -> tuple:
  """Names the arguments whose place has moved.

  Args:
    source: Source.
    name: From callable_name.
    node: ast.Call.
    release: One of renames.RELEASES.

  Returns:
    Edits, what changed ("" if nothing), and why it cannot be done ("" if it
    can).
  """
  order, now = renames.order(name, release), renames.order(name)
  place = _moved(order, now, len(node.args))
  if order != now and any(isinstance(arg, ast.Starred) for arg in node.args):
    return [], "", (f"{_short(name)} has * among its arguments, and their "
                    "order changed "
                    f"after {release}")
  if place is None:
    return [], "", ""
  if isinstance(node.args[0], ast.GeneratorExp):
    return [], "", f"{_short(name)} has a generator as its argument"
  if len(node.args) > len(order):
    return [], "", (f"{_short(name)} takes {len(order)} arguments by place in "
                    f"{release}, not {len(node.args)}")
  edits = []
  for argument, arg in zip(order[place:], node.args[place:], strict=False):
    start, _ = _with_parentheses(source, node, arg)
    edits.append((start, start, argument + "="))
  return edits, "by name, as their places changed, in {}: {}".format(
      _short(name), ", ".join(order[place:len(node.args)])), ""


def ambiguous(name: str, node: ast.Call) -> str:
  """Tells which releases meant something else by the places of arguments.

  Args:
    name: From callable_name.
    node: ast.Call.

  Returns:
    String, "" if there is none.
  """
  now = renames.order(name)
  for release in renames.RELEASES:
    order = renames.order(name, release)
    place = _moved(order, now, len(node.args))
    if place is not None and place < len(order):
      return ("argument {} of {} was {} in TensorFlow {} and is {} now; name "
              "it, or say --release".format(
                  place + 1, _short(name), order[place], release,
                  now[place] if place < len(now) else "none"))
  return ""


def default_edits(source: sources.Source, name: str, node: ast.Call,
                  release: str) -> tuple:
  """Writes out the defaults that a release had and that changed.

  Args:
    source: Source.
    name: From callable_name.
    node: ast.Call.
    release: One of renames.RELEASES.

  Returns:
    Edits, and what changed ("" if nothing).
  """
  order = renames.order(name, release)
  given = set(order[:len(node.args)])
  given |= {keyword.arg for keyword in node.keywords}
  spread = None in given or any(
      isinstance(arg, ast.Starred) for arg in node.args)
  # register_generic(params, batch_size, approx) never moved.
  given |= {"approx"} if name == "register_generic" and len(
      node.args) > 2 else set()
  edits, said = [], []
  for argument, value, now in renames.defaults(name, release):
    if argument in given or spread:
      continue
    edits.append(_append_argument(source, node, argument + "=" + value))
    said.append(
        f"{argument} of {_short(name)} is {value}, as by default in {release}, "
        f"not {now}")
  return edits, "; ".join(said)


def _append_argument(source, node, text):
  """Returns the edit that adds an argument after the last of a call."""
  values = node.args + [keyword.value for keyword in node.keywords]
  if not values:
    at = source.text.index("(", source.span(node.func)[1]) + 1
    return at, at, text
  last = max(values, key=lambda value: source.span(value)[1])
  _, at = _with_parentheses(source, node, last)
  return at, at, ", " + text


def _moved(order, now, count):
  """Returns the first of `count` places that two orders differ in, or None."""
  if order == now:
    return None
  return next((place for place in range(min(count, max(len(order), len(now))))
               if order[place:place + 1] != now[place:place + 1]), None)


def _short(name):
  return name.rpartition(".")[2]


def _with_parentheses(source, call, arg):
  """Returns the span of an argument with the parentheses around it."""
  start, end = source.span(arg)
  first = source.span(call.func)[1]
  while True:
    before = source.text[first:start].rstrip()
    after = source.text[end:].lstrip()
    # The call's own parenthesis is the first one after the function.
    if not before.endswith("(") or before.strip() == "(" or (
        not after.startswith(")")):
      return start, end
    start = first + len(before) - 1
    end += source.text[end:].index(")") + 1
