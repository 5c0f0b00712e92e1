"""Calls whose arguments had another meaning in an older release.

An edit is a node and a function of it, which returns what takes its place.
"""

from __future__ import annotations

import libcst as cst

from . import program as programs
from . import renames

_NONE = cst.SimpleWhitespace("")


def callable_name(program: programs.Program, node: cst.Call) -> str | None:
  """Returns the name of a call's callable in the tables.

  Args:
    program: The program.
    node: Call.

  Returns:
    Name with a row in the tables, or None.
  """
  name = table_name(program.resolve(node.func) or "")
  if name is None and isinstance(node.func, cst.Attribute):
    name = node.func.attr.value
  return name if name is not None and renames.is_known(name) else None


def table_name(dotted: str) -> str | None:
  """Returns the name that a dotted name has in the tables.

  Args:
    dotted: Canonical dotted name.

  Returns:
    Name; None if the dotted name is not below kfac.
  """
  parts = dotted.split(".")
  if parts[0] != "kfac":
    return None
  if len(parts) > 2:
    return f"{parts[-2].removesuffix('_lib')}.{parts[-1]}"
  return {"KfacOptimizer": "optimizer.KfacOptimizer",
          "LayerCollection": "layer_collection.LayerCollection"}.get(parts[-1])


def positional_edits(name: str, node: cst.Call, release: str) -> tuple:
  """Passes arguments whose place has changed by name.

  Args:
    name: From callable_name.
    node: Call.
    release: One of renames.RELEASES.

  Returns:
    Edits, a description of them ("" if there are none), and the reason why the
    call cannot be edited ("" if it can).
  """
  order, now = renames.order(name, release), renames.order(name)
  given = programs.positional(node)
  place = _moved(order, now, len(given))
  if order != now and any(arg.star for arg in given):
    return [], "", (f"{_short(name)} has * among its arguments, and their "
                    f"order changed after {release}")
  if place is None:
    return [], "", ""
  if isinstance(given[0].value, cst.GeneratorExp):
    return [], "", f"{_short(name)} has a generator as its argument"
  if len(given) > len(order):
    return [], "", (f"{_short(name)} takes {len(order)} arguments by place in "
                    f"{release}, not {len(given)}")
  edits = [(arg, _namer(argument)) for argument, arg in zip(
      order[place:], given[place:], strict=False)]
  named = ", ".join(order[place:len(given)])
  return edits, (f"by name, as their places changed, in {_short(name)}: "
                 f"{named}"), ""


def _namer(argument):
  return lambda arg: arg.with_changes(
      keyword=cst.Name(argument),
      equal=cst.AssignEqual(whitespace_before=_NONE, whitespace_after=_NONE))


def ambiguous(name: str, node: cst.Call) -> str:
  """Describes a positional argument that had another name in a release.

  Args:
    name: From callable_name.
    node: Call.

  Returns:
    String, "" if there is no such argument.
  """
  now, count = renames.order(name), len(programs.positional(node))
  for release in renames.RELEASES:
    order = renames.order(name, release)
    place = _moved(order, now, count)
    if place is not None and place < len(order):
      current = now[place] if place < len(now) else "none"
      return (f"argument {place + 1} of {_short(name)} was {order[place]} in "
              f"TensorFlow {release} and is {current} now; name it, or pass "
              "--release")
  return ""


def default_edits(name: str, node: cst.Call, release: str) -> tuple:
  """Passes arguments whose defaults have changed since a release explicitly.

  Args:
    name: From callable_name.
    node: Call.
    release: One of renames.RELEASES.

  Returns:
    Edits, and a description of them ("" if there are none).
  """
  order = renames.order(name, release)
  positional = programs.positional(node)
  given = set(order[:len(positional)])
  given |= {arg.keyword.value for arg in node.args if arg.keyword is not None}
  spread = any(arg.star for arg in node.args)
  # The order (params, batch_size, approx) of register_generic never changed.
  given |= {"approx"} if name == "register_generic" and len(
      positional) > 2 else set()
  edits, texts = [], []
  for argument, value, now in renames.defaults(name, release):
    if argument in given or spread:
      continue
    edits.append((node, _appender(argument, value)))
    texts.append(
        f"{argument} of {_short(name)} is {value}, as by default in {release}, "
        f"not {now}")
  return edits, "; ".join(texts)


def _appender(argument, value):
  """Returns the function that adds an argument after the last of a call."""
  def append(call):
    new = _namer(argument)(cst.Arg(cst.parse_expression(value)))
    if not call.args:
      return call.with_changes(args=[new])
    *first, last = call.args
    new = new.with_changes(
        comma=last.comma, whitespace_after_arg=last.whitespace_after_arg)
    last = last.with_changes(
        comma=cst.Comma(whitespace_after=cst.SimpleWhitespace(" ")),
        whitespace_after_arg=_NONE)
    return call.with_changes(args=[*first, last, new])
  return append


def _moved(order, now, count):
  """Returns the first of `count` places where two orders differ, or None."""
  if order == now:
    return None
  return next((place for place in range(min(count, max(len(order), len(now))))
               if order[place:place + 1] != now[place:place + 1]), None)


def _short(name):
  return name.rpartition(".")[2]
