"""What BUILD files must say, as functions that list what they do not.

Each takes a tree and returns complaints, one line each: where, and what to
add or remove. Nothing is imported and Bazel is not needed: the language of
BUILD files is read as Python.
"""

import ast
import pathlib

from kfac.python.kernel_tests.repository import architecture

RULES = ("py_binary", "py_library", "py_test")
SIZES = ("small", "medium", "large", "enormous")
# Their meaning is in CONTRIBUTING.md.
TAGS = ("docs", "external", "local")


def check_files(root):
  """Lists Python files that are not in one rule, and rules without a file."""
  root = pathlib.Path(root)
  complaints = []
  for folder in _folders(root):
    path = folder / "BUILD"
    where = path.relative_to(root).as_posix()
    if not path.exists():
      complaints.append(f"{where}: is missing")
      continue
    rules = read(path, RULES)
    listed = [src for rule in rules for src in rule.get("srcs", [])]
    present = {file.name for file in folder.glob("*.py")}
    complaints += [f"{where}: add {new_rule(folder.name, name)}"
                   for name in sorted(present - set(listed))]
    complaints += ["{}: {} is in {} rules".format(where, name, listed.count(
        name)) for name in sorted(set(listed)) if listed.count(name) > 1]
    complaints += ["{}: {}: remove \"{}\", from srcs: there is no such file"
                   .format(where, rule["name"], src) for rule in rules
                   for src in rule.get("srcs", []) if src not in present]
  return complaints


def new_rule(folder, file):
  """Returns the text of a rule for a file, without its deps.

  Args:
    folder: Name of the folder that holds it, without what is above.
    file: Its name, "op_queue_test.py".

  Returns:
    The rule in one line.
  """
  kind, size, name = "py_library", "", file[:-len(".py")]
  if file.endswith("_test.py"):
    kind, size = "py_test", 'size = "small", '
  elif file.endswith("_main.py"):
    kind = "py_binary"
  elif file == "__init__.py":
    name = folder
  return f'{kind}(name = "{name}", {size}srcs = ["{file}"])'


def check_deps(root):
  """Lists rules whose `deps` are not what their files import."""
  root = pathlib.Path(root)
  modules = architecture.read_modules(root)
  graph = architecture.import_graph(modules)
  complaints = []
  for _, folder, rule in _rules(root):
    sources = [module for module in modules.values() if module.path in
               [f"{folder}/{src}" for src in rule.get("srcs", [])]]
    if not sources:
      continue
    needed = {label(modules[target]) for source in sources
              for target in graph[source.name]}
    given = {_full_label(dep, folder) for dep in rule.get("deps", [])}
    where = "{}/BUILD: {}:".format(folder, rule["name"])
    complaints += [f'{where} add "{short_label(dep, folder)}", to deps'
                   for dep in sorted(needed - given)]
    complaints += [f'{where} remove "{short_label(dep, folder)}", from deps'
                   for dep in sorted(given - needed)]
  return complaints


def check_attributes(root):
  """Lists tests that have a wrong kind, size, number of shards or tag."""
  complaints = []
  for _, folder, rule in _rules(root):
    where = "{}/BUILD: {}:".format(folder, rule["name"])
    tests = [src for src in rule.get("srcs", []) if src.endswith("_test.py")]
    if rule["kind"] != "py_test":
      complaints += ["{} {} must be in a py_test, got {}".format(
          where, src, rule["kind"]) for src in tests]
      continue
    if rule.get("size") not in SIZES:
      complaints.append("{} size must be one of {}, got {!r}".format(
          where, list(SIZES), rule.get("size")))
    shards = rule.get("shard_count", 1)
    if not isinstance(shards, int) or not 1 <= shards <= 50:
      complaints.append(f"{where} shard_count must be in 1..50, got {shards!r}")
    complaints += [f"{where} tags must be among {list(TAGS)}, got {tag!r}"
                   for tag in rule.get("tags", [])
        if tag not in TAGS]
  return complaints


def check_data(root):
  """Lists rules whose `data` lack what their files read, or hold nothing."""
  root = pathlib.Path(root)
  complaints = []
  paths = [root / "BUILD"] if (root / "BUILD").exists() else []
  paths += [path for path, _, _ in _rules(root)]
  for path in dict.fromkeys(paths):
    folder = path.parent
    for rule in read(path, RULES):
      where = "{}: {}:".format(path.relative_to(root).as_posix(), rule["name"])
      held = set()
      for text, files in _expand(root, folder, rule.get("data_expr")):
        if not files:
          complaints.append(
              f"{where} remove {text} from data: it holds no file")
        held |= files
      for src in rule.get("srcs", []):
        file = folder / src
        if not file.exists():
          continue
        complaints += [f"{where} add {wanted} to data: {src} reads it"
                       for wanted in _unheld(root, file, held)]
  return complaints


def _unheld(root, file, held):
  """Yields labels of what a Python file reads and `held` has not."""
  for path in read_paths(root, file):
    inside = _plain_files(path) if path.is_dir() else {path}
    if inside - held:
      yield _data_label(root, file.parent, path)


def _data_label(root, folder, path):
  if path.is_dir() and (path / "BUILD").exists():
    return f'"//{path.relative_to(root).as_posix()}",'
  package = _package(path.parent)
  inner = path.relative_to(package).as_posix()
  if package != folder:
    where = package.relative_to(root).as_posix().removeprefix(".")
    return f'"//{where}:{inner}",'
  return ('glob(["{}/**"])' if path.is_dir() else '"{}",').format(inner)


def read_paths(root, file):
  """Lists files and folders of the tree that a Python file names as paths.

  A path is what `x / "a" / "b"` and `os.path.join(x, "a", "b")` end in. It
  counts where it is in the tree, below the root or the folder of the file, and
  is no BUILD file and no Python code of kfac/ or examples/, for which there
  are `deps`.

  Args:
    root: pathlib.Path of the tree.
    file: pathlib.Path of the Python file.

  Returns:
    Sorted list of pathlib.Path.
  """
  found = set()
  for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
    name = "/".join(_path_parts(node))
    for base in (root, file.parent):
      path = base / name
      if name and path.exists() and not _is_code(root, path):
        found.add(path)
  # The longest only: root / ".ci" is a part of root / ".ci" / "run".
  return sorted(path for path in found
                if not any(path in other.parents for other in found))


def _path_parts(node):
  """Returns the strings that a path ends in, [] if it is no path."""
  if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
    terms = [node.right]
    while isinstance(node.left, ast.BinOp) and isinstance(
        node.left.op, ast.Div):
      node = node.left
      terms.insert(0, node.right)
  elif (isinstance(node, ast.Call)
        and ast.unparse(node.func) == "os.path.join"):
    terms = node.args[1:]
  else:
    return []
  if not all(isinstance(term, ast.Constant) and isinstance(term.value, str)
             for term in terms):
    return []
  return [term.value for term in terms]


def _is_code(root, path):
  """Tells whether a path is a BUILD file, or code that srcs and deps list."""
  if path.name == "BUILD":
    return True
  top = path.relative_to(root).parts[:1]
  if not top or top[0] not in architecture.SOURCE_ROOTS:
    return path == root
  return path.suffix == ".py" or (path / "__init__.py").exists()


def _plain_files(folder):
  """Returns the files below a folder that are no BUILD files."""
  return {path for path in folder.rglob("*")
          if path.is_file() and path.name != "BUILD"}


def _expand(root, folder, node):
  """Yields (text, set of files) of each item of a `data` or `srcs`."""
  if isinstance(node, ast.BinOp):
    yield from _expand(root, folder, node.left)
    yield from _expand(root, folder, node.right)
  elif isinstance(node, ast.List):
    for item in node.elts:
      yield f'"{item.value}",', _label_files(root, folder, item.value)
  elif isinstance(node, ast.Call) and ast.unparse(node.func) == "glob":
    for item in node.args[0].elts:
      yield f'glob("{item.value}")', {
          path for path in folder.glob(
              item.value + "/*" if item.value.endswith("**") else item.value)
          if path.is_file() and _package(path.parent) == folder}


def _package(folder):
  """Returns the folder of the BUILD file that a file in `folder` is under."""
  while not (folder / "BUILD").exists() and folder != folder.parent:
    folder = folder.parent
  return folder


def _label_files(root, folder, text):
  """Returns the files that a label holds, those of a filegroup too."""
  if text.startswith("//"):
    where, _, name = text[2:].partition(":")
    folder, name = root / where, name or where.rpartition("/")[2]
  else:
    name = text.removeprefix(":")
  if (folder / name).is_file():
    return {folder / name}
  build = folder / "BUILD"
  for rule in read(build, RULES + ("filegroup",)) if build.exists() else []:
    if rule["name"] == name:
      items = [item for key in ("srcs_expr", "data_expr")
               for item in _expand(root, folder, rule.get(key))]
      return set().union(*(files for _, files in items))
  return set()


def label(module):
  """Returns the Bazel label of a module: "//kfac/python/ops:op_queue"."""
  folder, _, file = module.path.rpartition("/")
  name = folder.rpartition("/")[2] if module.is_package else file[:-len(".py")]
  return f"//{folder}:{name}"


def short_label(dep, folder):
  """Returns a label as a BUILD file of `folder` has it."""
  package, _, name = dep[2:].partition(":")
  if package == folder:
    return ":" + name
  return "//" + package if package.rpartition("/")[2] == name else dep


def _full_label(dep, folder):
  if dep.startswith(":"):
    return f"//{folder}{dep}"
  return dep if ":" in dep else dep + ":" + dep.rpartition("/")[2]


def _folders(root):
  """Lists the root, and the folders of the sources that have Python files."""
  return sorted({root} | {path.parent for top in architecture.SOURCE_ROOTS
                          for path in (root / top).rglob("*.py")})


def _rules(root):
  """Yields (BUILD file, its folder from the root, rule) below the sources."""
  root = pathlib.Path(root)
  for top in architecture.SOURCE_ROOTS:
    for path in sorted((root / top).rglob("BUILD")):
      folder = path.parent.relative_to(root).as_posix()
      for rule in read(path, RULES):
        yield path, folder, rule


def read(path, kinds):
  """Returns rules of a BUILD file.

  Args:
    path: The file.
    kinds: Names of the rules wanted.

  Returns:
    List of dicts from the name of an attribute to its value, only attributes
    that are literals. "kind" is the name of the rule; "data_expr" and
    "srcs_expr" are the syntax trees of these two.
  """
  rules = []
  for node in ast.parse(path.read_text(encoding="utf-8")).body:
    call = node.value if isinstance(node, ast.Expr) else None
    if not isinstance(call, ast.Call) or ast.unparse(call.func) not in kinds:
      continue
    rule = {"kind": ast.unparse(call.func)}
    for keyword in call.keywords:
      if isinstance(keyword.value, ast.List | ast.Constant):
        rule[keyword.arg] = ast.literal_eval(keyword.value)
      if keyword.arg in ("data", "srcs"):
        rule[keyword.arg + "_expr"] = keyword.value
    rules.append(rule)
  return rules
