"""The rules of g3doc/architecture.md, as functions that list violations.

Each takes a tree and returns complaints, one line each. Sources are read with
`ast` and not imported, so that a test can make a tree with any fault.
"""

import ast
import os
import pathlib
import sys

# From the bottom up. A module is on the floor of its package, and imports what
# is on its own floor or below.
FLOORS = (
    ("kfac.python", "kfac.python.ops", "kfac.python.requirements"),
    ("kfac.python.ops.utils", "kfac.python.ops.linear_operator",
     "kfac.python.ops.op_queue"),
    ("kfac.python.ops.loss_functions",
     "kfac.python.ops.curvature_matrix_vector_products"),
    ("kfac.python.ops.fisher_factors",),
    ("kfac.python.ops.fisher_blocks",),
    ("kfac.python.ops.tensormatch",),
    ("kfac.python.ops.layer_collection",),
    ("kfac.python.ops.estimation_modes", "kfac.python.ops.placement",
     "kfac.python.ops.factor_updates", "kfac.python.ops.estimator"),
    ("kfac.python.ops.optimizer",),
    ("kfac.python.ops.kfac_utils",),
    ("kfac.python.ops.recipe",),
    ("kfac.python.ops.checkpoint", "kfac.python.ops.contrib_numerics"),
    ("kfac",),
    ("kfac.contrib", "kfac.python.tools", "examples"),
    ("kfac.python.kernel_tests",),
)

MAX_FILE_LINES = 700
MAX_FUNCTION_LINES = 60  # Without the docstring.

# What kfac/ may import beside Python's own library and itself.
DEPENDENCIES = ("absl", "numpy", "tensorflow")
# {folder: what its files may import as well}, the packages of an extra.
EXTRA_DEPENDENCIES = {"kfac/python/tools/": ("libcst",),
                      "kfac/python/kernel_tests/": ("hypothesis", "keras")}
BANNED = ("tensorflow_probability", "tf_keras")
TENSORFLOW = "import tensorflow.compat.v1 as tf"

# Packages of packages: each module in them needs its own floor.
_HALLS = ("kfac", "kfac.python", "kfac.python.ops")
SOURCE_ROOTS = ("kfac", "examples")


class Module:
  """A Python file of the tree.

  Attributes:
    path: Path from the root of the tree, with "/".
    name: Dotted name; that of the folder for an `__init__.py`.
    source: Its text.
    tree: Its syntax tree.
  """

  def __init__(self, root, path):
    self.path = path.relative_to(root).as_posix()
    self.is_package = path.name == "__init__.py"
    parts = self.path[:-len(".py")].split("/")
    self.name = ".".join(parts[:-1] if self.is_package else parts)
    self.source = path.read_text(encoding="utf-8")
    self.tree = ast.parse(self.source, self.path)

  @property
  def package(self):
    """Dotted name of the folder that holds the file."""
    return self.name if self.is_package else self.name.rpartition(".")[0]


def read_modules(root):
  """Returns {name: Module} of all files below kfac/ and examples/."""
  root = pathlib.Path(root)
  modules = (Module(root, path) for folder in SOURCE_ROOTS
             for path in sorted((root / folder).rglob("*.py")))
  return {module.name: module for module in modules}


def imported_names(module):
  """Yields (line, candidates) of each name that a module imports.

  Args:
    module: A Module.

  Yields:
    The line, and dotted names; the first one that is a module is imported:
    `from a import b` gives ("a.b", "a").
  """
  for node in ast.walk(module.tree):
    if isinstance(node, ast.Import):
      for alias in node.names:
        yield node.lineno, (alias.name,)
    elif isinstance(node, ast.ImportFrom):
      base = node.module or ""
      if node.level:
        folder = module.package.split(".")
        folder = folder[:len(folder) - node.level + 1]
        base = ".".join(folder + ([base] if base else []))
      for alias in node.names:
        yield node.lineno, (base + "." + alias.name, base)


def import_graph(modules):
  """Returns {name: {imported name: line}} among the modules of the tree.

  `import a.b.c` also runs a/__init__.py and a/b/__init__.py. They are included
  unless the importing module is below them, and has run them already.
  """
  graph = {}
  for module in modules.values():
    own = set(_with_parents(module.name))
    edges = graph.setdefault(module.name, {})
    for line, candidates in imported_names(module):
      name = next((c for c in candidates if c in modules), None)
      if name is None or name == module.name:
        continue
      for target in [name] + _with_parents(name)[1:]:
        if target == name or (target in modules and target not in own):
          edges.setdefault(target, line)
  return graph


def _with_parents(name):
  """Returns "a.b.c" as ["a.b.c", "a.b", "a"]."""
  parts = name.split(".")
  return [".".join(parts[:n]) for n in range(len(parts), 0, -1)]


def floor_of(name):
  """Returns the index of a module's floor, or None if it has none."""
  name = name[:-len("_lib")] if name.endswith("_lib") else name
  floors = {listed: index for index, floor in enumerate(FLOORS)
            for listed in floor}
  if name in floors:
    return floors[name]
  return next((floors[parent] for parent in _with_parents(name)
               if parent in floors and parent not in _HALLS), None)


def check_floors(root):
  """Lists modules on no floor, and imports that point up."""
  modules = read_modules(root)
  complaints = [f"{module.path}: is on no floor"
                for module in modules.values() if floor_of(module.name) is None]
  for name, edges in import_graph(modules).items():
    for target, line in edges.items():
      floors = floor_of(name), floor_of(target)
      if None not in floors and floors[0] < floors[1]:
        complaints.append(
            f"{modules[name].path}:{line}: imports {target}, which is above it")
  return complaints


def check_circles(root):
  """Lists circles of imports, each once."""
  graph = import_graph(read_modules(root))
  complaints, done = [], set()

  def visit(name, trail):
    if name in trail:
      circle = trail[trail.index(name):] + [name]
      complaints.append(f"import circle: {' -> '.join(circle)}")
    elif name not in done:
      for target in graph[name]:
        visit(target, trail + [name])
      done.add(name)

  for name in graph:
    visit(name, [])
  return complaints


def check_sizes(root):
  """Lists files and functions that are too long."""
  complaints = []
  for module in read_modules(root).values():
    lines = len(module.source.splitlines())
    sizes = [(1, "file", module.path, lines, MAX_FILE_LINES)]
    for node in ast.walk(module.tree):
      if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        sizes.append((node.lineno, "function", node.name, code_lines(node),
                      MAX_FUNCTION_LINES))
    complaints += [
        f"{module.path}:{line}: {kind} {name} has {size} lines, at most {limit}"
        for line, kind, name, size, limit in sizes if size > limit]
  return complaints


def code_lines(function):
  """Returns the number of lines of a function without its docstring."""
  lines = function.end_lineno - function.lineno + 1
  if ast.get_docstring(function) is not None:
    docstring = function.body[0]
    lines -= docstring.end_lineno - docstring.lineno + 1
  return lines


def check_imports(root):
  """Lists imports that are not public or not of a dependency."""
  complaints = []
  for module in read_modules(root).values():
    for node in ast.walk(module.tree):
      if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
      elif isinstance(node, ast.ImportFrom) and not node.level:
        names = [node.module]
      else:
        continue
      text = ast.unparse(node)
      rule = _broken_rule(module, names, text)
      if rule:
        complaints.append(f"{module.path}:{node.lineno}: {text}: {rule}")
  return complaints


def _broken_rule(module, names, text):
  """Returns the rule that an import breaks, or None."""
  tops = {name.partition(".")[0] for name in names}
  if tops & set(BANNED):
    return "is not among the dependencies"
  if "tensorflow" in tops and text != TENSORFLOW:
    return f"only `{TENSORFLOW}`"
  if module.path.startswith("kfac/"):
    known = set(sys.stdlib_module_names) | set(DEPENDENCIES) | {"kfac"}
    known |= {name for folder, names in EXTRA_DEPENDENCIES.items()
              if module.path.startswith(folder) for name in names}
    if tops - known:
      return "is not among the dependencies"
  return None


def check_lib_sources(root):
  """Lists `_lib` modules that are more than a docstring and a star import."""
  complaints = []
  for module in read_modules(root).values():
    if not module.name.endswith("_lib"):
      continue
    owner = module.name[:-len("_lib")]
    code = [ast.unparse(node) for node in module.tree.body[1:]]
    if (ast.get_docstring(module.tree) is None
        or code != [f"from {owner} import *"]):
      complaints.append(
          f"{module.path}: must be a docstring and `from {owner} import *`")
  return complaints


def check_lib_names(lib, owner):
  """Lists the differences between a `_lib` module and `__all__` of its module.

  Args:
    lib: The imported `_lib` module.
    owner: The imported module whose names it lists.

  Returns:
    Complaints.
  """
  public = {name for name in vars(lib) if not name.startswith("_")}
  listed = set(owner.__all__)
  complaints = [f"{lib.__name__} lacks {name}"
                for name in sorted(listed - public)]
  complaints += [f"{lib.__name__} has {name}, which {owner.__name__}.__all__ "
                 "has not" for name in sorted(public - listed)]
  return complaints + [
      f"{lib.__name__}.{name} is another object than {owner.__name__}'s"
      for name in sorted(listed & public)
      if getattr(lib, name) is not getattr(owner, name)]


def project_root():
  """Returns the root of the tree that this file is in.

  Bazel runs tests through symbolic links to the tree, which are resolved.
  """
  return pathlib.Path(os.path.realpath(__file__)).parents[4]
