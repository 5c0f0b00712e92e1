"""Writes g3doc/api.md from the signatures and docstrings of the public API.

    python -m kfac.python.tools.api_doc            # is the page current?
    python -m kfac.python.tools.api_doc --write    # make it so

Exit status: 0 if the page is current or was written, 1 if it is not.
"""

from __future__ import annotations

import argparse
import enum
import importlib
import inspect
import pathlib
import pkgutil
import sys
import types

import kfac
from kfac.python.tools import docstrings

PAGE = pathlib.Path(__file__).resolve().parents[3] / "g3doc" / "api.md"
# In the order of the table of README.md.
MODULES = (
    "optimizer", "layer_collection", "estimator", "fisher_blocks",
    "fisher_factors", "loss_functions", "curvature_matrix_vector_products",
    "op_queue", "kfac_utils", "utils")
_OPS = "kfac.python.ops."
_OLD = ".contrib_aliases"
_HEAD = """\
# The public API

Made from the docstrings by `python -m kfac.python.tools.api_doc --write`: edit
these, not this page. Names are attributes of `kfac`, unless a path is given.
What a class inherits from another one on this page stands there; what it
inherits from TensorFlow is left out. A number in brackets, as (1.7), tells
which release of TensorFlow called it so. A default written `...` is private:
leave the argument out, or give it. Types of `hints` are explained in
`kfac/python/ops/utils/hints.py`.
"""


def main(argv: list[str] | None = None) -> int:
  """Runs the program.

  Args:
    argv: List of arguments; those of the process if None.

  Returns:
    Exit status.
  """
  parser = argparse.ArgumentParser(
      prog="api_doc", description=__doc__.partition("\n\n")[0])
  parser.add_argument("--write", action="store_true", help="write the page")
  arguments = parser.parse_args(argv)
  wanted = make_page()
  if PAGE.exists() and PAGE.read_text(encoding="utf-8") == wanted:
    sys.stdout.write(f"{PAGE} is current.\n")
    return 0
  if arguments.write:
    PAGE.write_text(wanted, encoding="utf-8")
    sys.stdout.write(f"{PAGE} was written.\n")
    return 0
  sys.stdout.write(
      f"{PAGE} is not current, say --write to make it so.\n")
  return 1


def make_page() -> str:
  """Returns the text of the page."""
  modules = public_modules()
  known = sections_of(modules)
  lines = _HEAD.split("\n")
  lines += [f"- [{title}](#{anchor(title)})"
            for title in ["kfac"] + [title for title, _ in modules]] + [""]
  lines += _root(known)
  for title, module in modules:
    lines += _module(title, module, known)
  return "\n".join(lines).rstrip("\n") + "\n"


def anchor(heading: str) -> str:
  """Returns what a link to a heading says after the "#"."""
  return "".join(char for char in heading.lower().replace(" ", "-")
                 if char.isalnum() or char in "-_")


def public_modules() -> list:
  """Lists the modules of the page.

  Returns:
    List of (title, module). A package without names of its own gives its
    modules, with titles like "kfac_utils.schedules".
  """
  result = []
  for name in MODULES:
    module = importlib.import_module(_OPS + name)
    result.append((name, module))
    if hasattr(module, "__path__") and not public_names(module):
      result += [
          (f"{name}.{found.name}",
           importlib.import_module(f"{_OPS}{name}.{found.name}"))
          for found in sorted(pkgutil.iter_modules(module.__path__),
                              key=lambda found: found.name)
          if not found.name.startswith("_")]
  return result


def public_names(module: types.ModuleType) -> list:
  """Lists public classes and functions.

  Args:
    module: A module, or a package with the names of its files.

  Returns:
    List of (name, object), classes first, by name. Those that belong to
    another module count if `__all__` has them.
  """
  listed = getattr(module, "__all__", ())
  found = []
  for name, member in vars(module).items():
    if name.startswith("_") or not (
        inspect.isclass(member) or inspect.isfunction(member)):
      continue
    owner = member.__module__ or ""
    own = owner == module.__name__ or owner.startswith(module.__name__ + ".")
    if own or name in listed:
      found.append((name, member))
  return sorted(found, key=lambda pair: (not inspect.isclass(pair[1]), pair[0]))


def sections_of(modules: list) -> dict:
  """Returns {class or function: heading of its section}.

  Args:
    modules: List of (title, module).

  Returns:
    Dict. What has several names has its section under the first.
  """
  known = {}
  for title, module in modules:
    for name, member in public_names(module):
      known.setdefault(member, f"{title}.{name}")
  return known


def _root(known):
  """Returns the section of `import kfac`."""
  lines = ["## kfac", ""] + docstrings.to_markdown(kfac.__doc__)
  functions = []
  for name in sorted(kfac.__all__):
    member = getattr(kfac, name)
    if member in known:
      target = known[member]
      lines.append(f"- `{name}`: [{target}](#{anchor(target)})")
    elif inspect.isfunction(member):
      functions.append((name, member))
  lines.append("")
  for name, member in functions:
    lines += _function("kfac." + name, name, member, bound=False)
  return lines


def _module(title, module, known):
  """Returns the section of a module."""
  lines = ["## " + title, "", f"`{module.__name__}`", ""]
  lines += docstrings.to_markdown(module.__doc__, leave_out=("Constants",))
  lines += _constants(module)
  for name, member in public_names(module):
    heading = f"{title}.{name}"
    if known[member] != heading:
      lines += ["### " + heading, "", "Same as "
                f"[{known[member]}](#{anchor(known[member])}).", ""]
    elif inspect.isclass(member):
      lines += _class(heading, name, member, known)
    else:
      lines += _function(heading, name, member, bound=False)
  return lines


def _constants(module):
  """Returns a list of constants: value, and what the module says of it."""
  words = dict(pair for name, lines in docstrings.sections(module.__doc__)
               if name == "Constants" for pair in docstrings.items(lines))
  lines = []
  for name, value in vars(module).items():
    code = docstrings.literal(value)
    if name.isupper() and not name.startswith("_") and code is not None:
      text = f"`{name} = {code}`"
      if name in words:
        text += ": " + docstrings.escape(words[name])
      lines += docstrings.wrap(text, "- ")
  return ["Constants:", ""] + lines + [""] if lines else []


def _function(heading, name, function, bound, level="###", described=None):
  """Returns the section of a function or method.

  Args:
    heading: Heading of the section.
    name: What is called.
    function: The function.
    bound: Whether its first argument is left out.
    level: The marks before the heading.
    described: What has the docstring; the function if None.
  """
  return [f"{level} {heading}", "", "```text",
          *docstrings.signature(name, function, bound), "```", "",
          *docstrings.to_markdown(inspect.getdoc(described or function))]


def _class(heading, name, cls, known):
  """Returns the section of a class."""
  lines = ["### " + heading, ""]
  owners = own_classes(cls, known)
  constructor = inspect.getattr_static(cls, "__init__")
  is_ours = any(vars(base).get("__init__") is constructor
                for base in cls.__mro__ if _is_ours(base))
  if is_ours and not issubclass(cls, (enum.Enum, BaseException)):
    lines += ["```text", *docstrings.signature(name, constructor), "```", ""]
  bases = [_base(base, known) for base in cls.__bases__
           if base in known or not _is_ours(base)]
  if any(bases):
    lines += ["A subclass of {}.".format(" and ".join(filter(None, bases))), ""]
  lines += docstrings.to_markdown(cls.__doc__)
  if issubclass(cls, enum.Enum):
    return lines + [f"- `{member.name}`" for member in cls] + [""]
  if any("__init__" in vars(owner) for owner in owners):
    lines += docstrings.to_markdown(constructor.__doc__)
  lines += _members(name, cls, owners, known)
  return lines + _old_names(cls)


def _is_ours(cls):
  """Whether a class is one of this package."""
  return cls.__module__.partition(".")[0] == "kfac"


def _base(cls, known):
  """Returns how a base class is named; None if it says nothing."""
  if cls in known:
    return f"[{known[cls]}](#{anchor(known[cls])})"
  if cls.__module__.startswith("tensorflow"):
    return f"TensorFlow's `{cls.__name__}`"
  return None


def own_classes(cls: type, known: dict) -> list[type]:
  """Lists classes whose members are described with a class.

  Args:
    cls: The class.
    known: Classes that are described themselves.

  Returns:
    The class and those of its bases that have no section and are neither of
    another package nor a list of old names.
  """
  described = {base for other in cls.__mro__[1:] if other in known
               for base in other.__mro__}
  return [base for base in cls.__mro__
          if base is cls or _is_ours(base) and base not in described
          and not base.__module__.endswith(_OLD)]


def _members(name, cls, owners, known):
  """Returns properties as a list, then a section for each method."""
  properties, methods, done = [], [], set()
  inherited = {attribute for base in cls.__mro__ if base in known
               and base is not cls for attribute in dir(base)}
  for owner in owners:
    for attribute, member in vars(owner).items():
      if attribute.startswith("_") or attribute in done:
        continue
      done.add(attribute)
      if isinstance(member, (staticmethod, classmethod)):
        bound, member = isinstance(member, classmethod), member.__func__
      else:
        bound = True
      if attribute in inherited and not member.__doc__:
        continue
      heading = f"{name}.{attribute}"
      if isinstance(member, property):
        text = " ".join((inspect.getdoc(getattr(cls, attribute)) or "").split())
        properties += docstrings.wrap(
            f"`{attribute}`: {docstrings.escape(text)}", "- ")
      elif inspect.isfunction(member):
        methods += _method(heading, attribute, cls, member, bound)
  return (["Properties:", ""] + properties + [""] if properties else []) + (
      methods)


def _method(heading, attribute, cls, member, bound):
  """Returns the section of a method; of another name for one, a line."""
  other = member.__name__
  if other != attribute and inspect.getattr_static(cls, other, None) is member:
    return ["#### " + heading, "", f"Same as `{other}`.", ""]
  # Of the class: a base class that has no section may say what it is.
  return _function(heading, attribute, member, bound, "####",
                   getattr(cls, attribute))


def _old_names(cls):
  """Returns a table of the old names that a class is the first to have."""
  rows = []
  for base in cls.__bases__:
    if base.__module__.endswith(_OLD):
      for name, member in vars(base).items():
        if not name.startswith("_"):
          text = " ".join(inspect.cleandoc(member.__doc__).split())
          rows.append(f"| `{name}` | {docstrings.escape(text)} |")
  return ["| old name | what it does |", "|---|---|"] + rows + [""] if (
      rows) else []


if __name__ == "__main__":
  sys.exit(main())
