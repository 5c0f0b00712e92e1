"""Assigns test files to modules, and lists modules without one.

The tests of kfac/python/ops/utils/graph.py are kernel_tests/utils/graph_test.py
or several files kernel_tests/utils/graph_SUBJECT_test.py. A module without a
test file is in TESTED_BY.
"""

import pathlib

_TESTS = "kfac/python/kernel_tests"

# Folder of modules -> folder of their tests. A folder below one of them has
# its tests in the folder of the same name.
FOLDERS = {
    "kfac": _TESTS,
    "kfac/python": _TESTS,
    "kfac/python/ops": _TESTS,
    "kfac/python/tools": _TESTS + "/tools",
}

# Module -> the test file that tests it, below kernel_tests.
TESTED_BY = {
    "kfac/python/ops/recipe/passes.py": "recipe/recipe_test.py",
    "kfac/python/requirements.py": "repository/packaging_test.py",
    "kfac/python/ops/contrib_numerics.py": "golden_test.py",
    "kfac/python/ops/fisher_blocks/convolution.py":
        "fisher_blocks/contract_test.py",
    "kfac/python/ops/fisher_blocks/fully_connected.py":
        "fisher_blocks/contract_test.py",
    "kfac/python/ops/fisher_blocks/generic.py":
        "fisher_blocks/contract_test.py",
    "kfac/python/ops/fisher_blocks/kronecker.py":
        "fisher_blocks/contract_test.py",
    "kfac/python/ops/fisher_blocks/series.py":
        "fisher_blocks/contract_test.py",
    "kfac/python/ops/fisher_blocks/single_factor.py":
        "fisher_blocks/contract_test.py",
    "kfac/python/ops/fisher_blocks/towers.py": "fisher_blocks/base_test.py",
    "kfac/python/ops/fisher_factors/contrib_aliases.py":
        "fisher_factors/base_test.py",
    "kfac/python/ops/fisher_factors/fully_connected.py":
        "fisher_factors/dense_test.py",
    "kfac/python/ops/fisher_factors/generic.py":
        "fisher_factors/diagonal_test.py",
    "kfac/python/ops/fisher_factors/matrix_functions.py":
        "fisher_factors/dense_test.py",
    "kfac/python/ops/layer_collection/generic.py":
        "layer_collection/dense_errors_test.py",
    "kfac/python/ops/layer_collection/loss_collection.py":
        "layer_collection/losses_test.py",
    "kfac/python/ops/layer_collection/registration.py":
        "layer_collection/collection_test.py",
    "kfac/python/ops/layer_collection/validation.py":
        "layer_collection/dense_errors_test.py",
    "kfac/python/ops/loss_functions/checks.py":
        "loss_functions/base_test.py",
    "kfac/python/ops/loss_functions/distributions.py":
        "loss_functions/base_test.py",
    "kfac/python/ops/optimizer/calibration.py":
        "optimizer/damping_adaptation_test.py",
    "kfac/python/ops/tensormatch/graph_matcher.py": "not_built_test.py",
    "kfac/python/ops/tensormatch/graph_patterns.py": "not_built_test.py",
    "kfac/python/ops/tensormatch/tensorflow_graph_util.py":
        "not_built_test.py",
    "kfac/python/ops/utils/constants.py": "fisher_factors/constants_test.py",
    "kfac/python/ops/utils/devices.py": "placement_test.py",
    "kfac/python/ops/utils/hints.py": "repository/hints_test.py",
    "kfac/python/tools/calls.py": "tools/rewriting_test.py",
    "kfac/python/tools/import_edits.py": "tools/rewriting_test.py",
    "kfac/python/tools/losses.py": "tools/rewriting_test.py",
    "kfac/python/tools/program.py": "tools/rewriting_test.py",
    "kfac/python/tools/report.py": "tools/rewriting_test.py",
}


def modules(root):
  """Lists the modules that must have a test file.

  An `__init__.py` is tested with its package; a `_lib` module is a list of
  names, which architecture.py checks.

  Args:
    root: Root of the tree.

  Returns:
    Sorted list of paths from the root, with "/".
  """
  root = pathlib.Path(root)
  found = []
  for folder in _module_folders(root):
    found += [path.relative_to(root).as_posix()
              for path in (root / folder).glob("*.py")
              if path.name != "__init__.py"
              and not path.stem.endswith("_lib")]
  return sorted(found)


def _module_folders(root):
  """Lists the folders of FOLDERS and, below ops and tools, their packages."""
  found = set(FOLDERS)
  for folder in ("kfac/python/ops", "kfac/python/tools"):
    found |= {path.parent.relative_to(root).as_posix()
              for path in (root / folder).rglob("__init__.py")}
  return sorted(found)


def test_folder(folder):
  """Returns the folder of the tests of the modules of a folder."""
  if folder in FOLDERS:
    return FOLDERS[folder]
  parent, _, name = folder.rpartition("/")
  return f"{test_folder(parent)}/{name}"


def test_files(root, module):
  """Lists the test files that are named after a module.

  Args:
    root: Root of the tree.
    module: Path of the module from the root.

  Returns:
    List of pathlib.Path.
  """
  folder, _, name = module.rpartition("/")
  tests = pathlib.Path(root) / test_folder(folder)
  stem = name.removesuffix(".py")
  return sorted([*tests.glob(f"{stem}_test.py"),
                 *tests.glob(f"{stem}_*_test.py")])


def check(root, tested_by=None):
  """Lists modules without a test file, and wrong rows of the table.

  Args:
    root: Root of the tree.
    tested_by: The table; TESTED_BY if None.

  Returns:
    Complaints.
  """
  table = TESTED_BY if tested_by is None else tested_by
  complaints = []
  present = modules(root)
  for module in present:
    if module not in table and not test_files(root, module):
      folder, _, name = module.rpartition("/")
      complaints.append(
          f"{module}: add {test_folder(folder)}/{name.removesuffix('.py')}"
          "_test.py, or a row of TESTED_BY")
  for module, test in table.items():
    if module not in present:
      complaints.append(f"TESTED_BY: remove {module}: there is no such module")
    elif test_files(root, module):
      complaints.append(f"TESTED_BY: remove {module}: it has a test file")
    elif not (pathlib.Path(root) / _TESTS / test).is_file():
      complaints.append(f"TESTED_BY: {module}: there is no file {test}")
  return complaints
