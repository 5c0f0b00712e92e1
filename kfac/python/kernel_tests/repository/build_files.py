"""Writes the BUILD files of the tree, or prints how they differ.

    python -m kfac.python.kernel_tests.repository.build_files [--write]

`deps` are what a file imports, `data` what it names as paths; the rest is in
build_settings.py. Sources are read with `ast`, and Bazel is not needed. The
exit status is 1 if a file differs and is not written.
"""

import argparse
import ast
import difflib
import pathlib
import sys

from kfac.python.kernel_tests.repository import architecture
from kfac.python.kernel_tests.repository import build_settings

# Their meaning is in CONTRIBUTING.md.
TAGS = ("docs", "external", "local")

# Target of the root that holds every module of kfac but tests.
ALL_MODULES = "//:all_modules"

_VISIBILITY = 'package(default_visibility = ["//visibility:public"])\n'


class Tree:
  """The sources of a tree, and what BUILD files say about them.

  Attributes:
    root: pathlib.Path.
    settings: A module such as build_settings.
    modules: {name: architecture.Module}, those of the root too.
    imports: {name: {imported name: line}}.
  """

  def __init__(self, root, settings=build_settings):
    self.root = pathlib.Path(root)
    self.settings = settings
    self.modules = architecture.read_modules(root)
    self.imports = architecture.import_graph(self.modules)
    for path in sorted(self.root.glob("*.py")):
      module = architecture.Module(self.root, path)
      self.modules[module.name] = module
      self.imports[module.name] = {}
    self._by_folder = {}
    for module in self.modules.values():
      folder = module.path.rpartition("/")[0]
      self._by_folder.setdefault(folder, []).append(module)

  def files(self):
    """Returns {path of a BUILD file: its text}."""
    rules = {folder: [self._python_rule(module)
                      for module in sorted(modules, key=_rule_order)]
             for folder, modules in self._by_folder.items()}
    for folder in self.settings.DATA_FOLDERS:
      rules[folder] = [self._filegroup(folder)]
    exports = self._exports(rules)
    for folder, names in exports.items():
      rules.setdefault(folder, []).insert(0, _exports_files(names))
    rules.setdefault("", []).extend([self._smoke(), self._all_modules()])
    texts = {f"{folder}/BUILD".lstrip("/"): "\n".join(
        [f"# {self._comment(folder)}\n", _VISIBILITY,
         *(_format(*rule) for rule in rules[folder])]) for folder in rules}
    return texts | self.settings.STAND_INS

  def _comment(self, folder):
    """Returns the first line of a BUILD file."""
    if folder in self.settings.COMMENTS:
      return self.settings.COMMENTS[folder]
    package = self.modules.get(folder.replace("/", "."))
    doc = package and ast.get_docstring(package.tree)
    if not doc:
      raise ValueError(f"{folder}/__init__.py must have a docstring.")
    return doc.splitlines()[0]

  def _python_rule(self, module):
    """Returns (kind, attributes) of the rule of a Python file."""
    folder = module.path.rpartition("/")[0]
    rule = {"name": label(module).rpartition(":")[2]}
    kind = _kind(module)
    if kind == "py_test":
      rule["size"] = self.settings.SIZES.get(module.path, "small")
    rule["srcs"] = [module.path.rpartition("/")[2]]
    rule["data"], rule["glob"] = self._data(module, folder)
    rule["shard_count"] = self.settings.SHARDS.get(module.path)
    rule["tags"] = self._tags(module, folder) if kind == "py_test" else []
    rule["deps"] = [short_label(label(self.modules[target]), folder)
                    for target in self.imports[module.name]]
    return kind, rule

  def _tags(self, module, folder):
    """Returns the tags of a test."""
    pages = self.settings.PAGES in self.imports[module.name]
    tags = ["docs"] if pages else []
    if pages or folder in self.settings.READ_THE_TREE:
      tags += ["external", "local"]
    return tags

  def _data(self, module, folder):
    """Returns the labels, and the patterns below, of what a file reads."""
    labels, patterns = [], []
    for path in read_paths(self.root, self.root / module.path):
      package = self._package(path)
      inner = path.relative_to(self.root / package).as_posix()
      if package in self.settings.DATA_FOLDERS:
        labels.append(short_label(
            f"//{package}:{package.rpartition('/')[2]}", folder))
      elif package != folder:
        if path.is_dir():
          raise ValueError(
              f"DATA_FOLDERS must have {inner}, which {module.path} reads.")
        labels.append(f"//{package}:{inner}")
      elif path.is_dir():
        patterns.append(inner + "/**")
      else:
        labels.append(inner)
    if module.path in self.settings.IMPORT_BY_NAME:
      labels.append(ALL_MODULES)
    return labels, patterns

  def _package(self, path):
    """Returns the folder whose BUILD file a path belongs to."""
    folders = {*self._by_folder, *self.settings.DATA_FOLDERS, ""}
    found = path.relative_to(self.root).as_posix()
    while found not in folders:
      found = found.rpartition("/")[0]
    return found

  def _filegroup(self, folder):
    """Returns the rule of a folder without code: files by their suffixes."""
    suffixes = {path.suffix for path in (self.root / folder).rglob("*")
                if path.is_file() and path.name != "BUILD"}
    return "filegroup", {
        "name": folder.rpartition("/")[2],
        "srcs_glob": [f"**/*{suffix}" for suffix in suffixes if suffix]}

  def _exports(self, rules):
    """Returns {folder: files in it that rules of other folders name}."""
    exports = {}
    for folder_rules in rules.values():
      for _, rule in folder_rules:
        for item in rule.get("data", []):
          package, _, name = item[2:].partition(":")
          if item.startswith("//") and (self.root / package / name).is_file():
            exports.setdefault(package, set()).add(name)
    return exports

  def _smoke(self):
    """Returns the rule of the fast tests."""
    tests = [self._label_of(path) for path in self.settings.SMOKE]
    return "test_suite", {"name": "smoke", "tests": tests}

  def _all_modules(self):
    """Returns the rule of all modules of kfac but tests."""
    tests = "kfac/python/kernel_tests/"
    return "py_library", {
        "name": ALL_MODULES.rpartition(":")[2],
        "deps": [short_label(label(module), "")
                 for module in self.modules.values()
                 if module.path.startswith("kfac/")
                 and not module.path.startswith(tests)]}

  def _label_of(self, path):
    return label(self.modules[path.removesuffix(".py").replace("/", ".")])


def _rule_order(module):
  """The package first, then libraries and programs, then tests; by name."""
  return _kind(module) == "py_test", not module.is_package, module.path


def _kind(module):
  """Returns the kind of the rule of a Python file."""
  if module.path.endswith("_test.py"):
    return "py_test"
  runs = any(isinstance(node, ast.If)
             and ast.unparse(node.test) == "__name__ == '__main__'"
             for node in module.tree.body)
  return "py_binary" if runs else "py_library"


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


def _label_order(text):
  """Key that sorts as buildifier does: this package, then by parts."""
  place = 1 if text.startswith(":") else 2 if text.startswith("//") else 0
  return place, text.replace(":", ".").split(".")


def _list(items):
  """Returns a list as buildifier formats it, below an attribute."""
  items = [f'"{item}"' for item in sorted(set(items), key=_label_order)]
  if len(items) == 1:
    return f"[{items[0]}]"
  return "[\n" + "".join(f"        {item},\n" for item in items) + "    ]"


def _format(kind, rule):
  """Returns a rule as buildifier formats it; empty attributes are left out."""
  if kind == "exports_files":
    return f"exports_files({_list(rule['srcs'])})\n".replace("\n    ", "\n")
  values = {}
  for name, value in rule.items():
    if name in ("name", "size"):
      values[name] = f'"{value}"'
    elif name == "shard_count" and value:
      values[name] = str(value)
    elif name == "srcs_glob":
      values["srcs"] = f"glob({_list(value)})"
    elif name == "glob" and value:
      values["data"] = " + ".join(
          [f"glob({_list(value)})", *filter(None, [values.get("data")])])
    elif value:
      values[name] = _list(value)
  lines = [f"    {name} = {text},\n" for name, text in values.items()]
  return f"{kind}(\n{''.join(lines)})\n"


def _exports_files(names):
  return "exports_files", {"srcs": names}


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


def stale_settings(root, settings=build_settings):
  """Lists rows of the settings whose file or folder does not exist."""
  root = pathlib.Path(root)
  rows = {name: list(getattr(settings, name)) for name in (
      "SIZES", "SHARDS", "READ_THE_TREE", "IMPORT_BY_NAME", "SMOKE",
      "COMMENTS", "DATA_FOLDERS")}
  rows["PAGES"] = [settings.PAGES.replace(".", "/") + ".py"]
  return [f"{name}: remove {path}: it does not exist"
          for name, paths in rows.items() for path in paths
          if not (root / path).exists()]


def differences(root, settings=build_settings):
  """Compares the BUILD files of a tree with what they should be.

  Args:
    root: Root of the tree.
    settings: A module such as build_settings.

  Returns:
    {path: (present text, wanted text)} of files that differ; the text is None
    where there is no file, or there should be none.
  """
  root = pathlib.Path(root)
  wanted = Tree(root, settings).files()
  tops = (*architecture.SOURCE_ROOTS, *settings.DATA_FOLDERS, "third_party")
  present = {path.relative_to(root).as_posix(): path.read_text(encoding="utf-8")
             for top in tops for path in (root / top).rglob("BUILD")}
  if (root / "BUILD").is_file():
    present["BUILD"] = (root / "BUILD").read_text(encoding="utf-8")
  return {path: (present.get(path), wanted.get(path))
          for path in sorted({*present, *wanted})
          if present.get(path) != wanted.get(path)}


def main(arguments=None, root=None, settings=build_settings):
  """Writes the files, or prints what differs.

  Args:
    arguments: Of the command line; those of the process if None.
    root: Root of the tree; this tree if None.
    settings: A module such as build_settings.

  Returns:
    The exit status.
  """
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--write", action="store_true", help="write the files")
  write = parser.parse_args(arguments).write
  root = architecture.project_root() if root is None else pathlib.Path(root)
  found = differences(root, settings)
  for path, (present, wanted) in found.items():
    if not write:
      print("\n".join(difflib.unified_diff(
          (present or "").splitlines(), (wanted or "").splitlines(),
          path, path, lineterm="")))
    elif wanted is None:
      (root / path).unlink()
    else:
      (root / path).write_text(wanted, encoding="utf-8")
  return int(bool(found) and not write)


if __name__ == "__main__":
  sys.exit(main())
