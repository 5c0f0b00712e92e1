"""Calls whose arguments had another meaning in an older release."""

from __future__ import annotations

import ast

from . import renames
from . import scopes
from . import sources


def callable_name(scope: scopes.Scope, node: ast.Call) -> str | None:
  """Returns the name of a call's callable in the tables.

  Args:
    scope: Scope of the call.
    node: ast.Call.

  Returns:
    Name with a row in the tables, or None.
  """
  dotted = scope.resolve(node.func) or ""
  parts = dotted.split(".")
  if parts[0] == "kfac" and len(parts) > 2:
    name = f"{parts[-2].removesuffix('_lib')}.{parts[-1]}"
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
  """Passes arguments whose place has changed by name.

  Args:
    source: Source.
    name: From callable_name.
    node: ast.Call.
    release: One of renames.RELEASES.

  Returns:
    Edits, a description of them ("" if there are none), and the reason why the
    call cannot be edited ("" if it can).
  """
  order, now = renames.order(name, release), renames.order(name)
  place = _moved(order, now, len(node.args))
  if order != now and any(isinstance(arg, ast.Starred) for arg in node.args):
    return [], "", (f"{_short(name)} has * among its arguments, and their "
                    f"order changed after {release}")
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
  named = ", ".join(order[place:len(node.args)])
  return edits, (f"by name, as their places changed, in {_short(name)}: "
                 f"{named}"), ""


def ambiguous(name: str, node: ast.Call) -> str:
  """Describes a positional argument that had another name in a release.

  Args:
    name: From callable_name.
    node: ast.Call.

  Returns:
    String, "" if there is no such argument.
  """
  now = renames.order(name)
  for release in renames.RELEASES:
    order = renames.order(name, release)
    place = _moved(order, now, len(node.args))
    if place is not None and place < len(order):
      current = now[place] if place < len(now) else "none"
      return (f"argument {place + 1} of {_short(name)} was {order[place]} in "
              f"TensorFlow {release} and is {current} now; name it, or pass "
              "--release")
  return ""


def default_edits(source: sources.Source, name: str, node: ast.Call,
                  release: str) -> tuple:
  """Passes arguments whose defaults have changed since a release explicitly.

  Args:
    source: Source.
    name: From callable_name.
    node: ast.Call.
    release: One of renames.RELEASES.

  Returns:
    Edits, and a description of them ("" if there are none).
  """
  order = renames.order(name, release)
  given = set(order[:len(node.args)])
  given |= {keyword.arg for keyword in node.keywords}
  spread = None in given or any(
      isinstance(arg, ast.Starred) for arg in node.args)
  # The order (params, batch_size, approx) of register_generic never changed.
  given |= {"approx"} if name == "register_generic" and len(
      node.args) > 2 else set()
  edits, texts = [], []
  for argument, value, now in renames.defaults(name, release):
    if argument in given or spread:
      continue
    edits.append(_append_argument(source, node, argument + "=" + value))
    texts.append(
        f"{argument} of {_short(name)} is {value}, as by default in {release}, "
        f"not {now}")
  return edits, "; ".join(texts)


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
  """Returns the first of `count` places where two orders differ, or None."""
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
