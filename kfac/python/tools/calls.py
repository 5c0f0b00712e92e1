"""Calls whose arguments had another meaning in an older release.

An edit is a node and a function of it, which returns what takes its place.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import libcst as cst

from . import program as programs
from . import renames

_NONE = cst.SimpleWhitespace("")


@dataclasses.dataclass(frozen=True)
class Callee:
  """What a call calls.

  Attributes:
    name: Name with a row in the tables.
    skip: Number of the call's first arguments that are none of the row: 1 for
      `self` in `KfacOptimizer.__init__(self, ...)`.
  """

  name: str
  skip: int = 0

  @property
  def short(self) -> str:
    """The name without its module."""
    return self.name.rpartition(".")[2]

  def positional(self, call: cst.Call) -> Sequence[cst.Arg]:
    """Returns the arguments of a call without a name."""
    return programs.positional(call)[self.skip:]


def callee(program: programs.Program, node: cst.Call) -> Callee | None:
  """Returns what a call calls, if the tables have a row for it.

  Args:
    program: The program.
    node: Call.

  Returns:
    Callee, or None.
  """
  func, skip = node.func, 0
  method = func.attr.value if isinstance(func, cst.Attribute) else None
  if isinstance(func, cst.Attribute) and method == "__init__":
    owner = _owner_of_super(program, func.value)
    skip = 0 if owner else 1
    name = _inherited(program, owner, ()) if owner else (
        _constructor(program, func.value, ()))
  else:
    name = _constructor(program, func, ()) or method
  return Callee(name, skip) if name and renames.is_known(name) else None


def _constructor(program, node, busy):
  """Returns the name in the tables of what constructs a class, or None.

  Args:
    program: The program.
    node: Expression that names the class.
    busy: Classes of the program that are being followed.

  Returns:
    Name or None.
  """
  owner = _class(program, node)
  if owner is None:
    return table_name(program.resolve(node) or "")
  if owner in busy or _has_constructor(owner):
    return None
  return _inherited(program, owner, (*busy, owner))


def _inherited(program, owner, busy):
  """Returns the same for the constructor that a class inherits."""
  bases = [base.value for base in owner.bases if not base.star]
  # A base without constructor and bases of its own leads on to the next one.
  while len(bases) > 1 and _is_plain(_class(program, bases[0])):
    bases = bases[1:]
  return _constructor(program, bases[0], busy) if bases else None


def _has_constructor(owner):
  return any(isinstance(part, cst.FunctionDef) and part.name.value == "__init__"
             for part in owner.body.body)


def _is_plain(owner):
  return owner is not None and not owner.bases and not _has_constructor(owner)


def _class(program, node):
  """Returns the class of the program that an expression names, or None."""
  if not isinstance(node, cst.Name):
    return None
  found = program.bindings(program.scope(node), node.value)
  return found[0] if len(found) == 1 and isinstance(
      found[0], cst.ClassDef) else None


def _owner_of_super(program, node):
  """Returns the class to which a call of `super` belongs, or None."""
  if not isinstance(node, cst.Call) or not isinstance(node.func, cst.Name) or (
      node.func.value != "super"):
    return None
  if node.args:
    return _class(program, node.args[0].value)
  return next((parent for parent in program.ancestors(node)
               if isinstance(parent, cst.ClassDef)), None)


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
          "LayerCollection": "layer_collection.LayerCollection",
          "AsyncInvCovUpdateKfacOpt":
              "async_inv_cov_update_kfac_opt.AsyncInvCovUpdateKfacOpt",
          "PeriodicInvCovUpdateKfacOpt":
              "periodic_inv_cov_update_kfac_opt.PeriodicInvCovUpdateKfacOpt",
          }.get(parts[-1])


def positional_edits(called: Callee, node: cst.Call, release: str) -> tuple:
  """Passes arguments whose place has changed by name.

  Args:
    called: From callee.
    node: Call.
    release: One of renames.RELEASES.

  Returns:
    Edits, a description of them ("" if there are none), and the reason why the
    call cannot be edited ("" if it can).
  """
  order, now = renames.order(called.name, release), renames.order(called.name)
  given = called.positional(node)
  place = _moved(order, now, len(given))
  if order != now and any(
      arg.star for arg in programs.positional(node)):
    return [], "", (f"{called.short} has * among its arguments, and their "
                    f"order changed after {release}")
  if place is None:
    return [], "", ""
  if isinstance(given[0].value, cst.GeneratorExp):
    return [], "", f"{called.short} has a generator as its argument"
  if len(given) > len(order):
    return [], "", (f"{called.short} takes {len(order)} arguments by place in "
                    f"{release}, not {len(given)}")
  edits = [(arg, _namer(argument)) for argument, arg in zip(
      order[place:], given[place:], strict=False)]
  named = ", ".join(order[place:len(given)])
  return edits, (f"by name, as their places changed, in {called.short}: "
                 f"{named}"), ""


def _namer(argument):
  return lambda arg: arg.with_changes(
      keyword=cst.Name(argument),
      equal=cst.AssignEqual(whitespace_before=_NONE, whitespace_after=_NONE))


def ambiguous(called: Callee, node: cst.Call) -> str:
  """Describes a positional argument that had another name in a release.

  Args:
    called: From callee.
    node: Call.

  Returns:
    String, "" if there is no such argument.
  """
  now, count = renames.order(called.name), len(called.positional(node))
  for release in renames.RELEASES:
    order = renames.order(called.name, release)
    place = _moved(order, now, count)
    if place is not None and place < len(order):
      current = now[place] if place < len(now) else "none"
      return (f"argument {place + 1} of {called.short} was {order[place]} in "
              f"TensorFlow {release} and is {current} now; name it, or pass "
              "--release")
  return ""


def default_edits(called: Callee, node: cst.Call, release: str) -> tuple:
  """Passes arguments whose defaults have changed since a release explicitly.

  Args:
    called: From callee.
    node: Call.
    release: One of renames.RELEASES.

  Returns:
    Edits, and a description of them ("" if there are none).
  """
  order = renames.order(called.name, release)
  positional = called.positional(node)
  given = {name: arg.value
           for name, arg in zip(order, positional, strict=False)}
  given |= {arg.keyword.value: arg.value
            for arg in node.args if arg.keyword is not None}
  spread = any(arg.star for arg in node.args)
  # The order (params, batch_size, approx) of register_generic never changed.
  if called.name == "register_generic" and len(positional) > 2:
    given["approx"] = positional[2].value
  edits, texts = [], []
  for argument, value, now in renames.defaults(called.name, release):
    needs = renames.ONLY_WITH.get(argument)
    if argument in given or spread or needs and not (
        needs in given and programs.unparse(given[needs]) == "True"):
      continue
    edits.append((node, _appender(argument, value)))
    texts.append(
        f"{argument} of {called.short} is {value}, as by default in {release}, "
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
