"""What BUILD files say that cannot be read from the sources.

Paths are from the root of the tree. A test that is not named here is small,
and has one shard.
"""

# The tests that take from 20 to 100 seconds on a core.
_MEDIUM = """
    examples/autoencoder_test.py
    examples/convnet_test.py
    examples/mnist_test.py
    examples/rnn_test.py
    examples/runner_test.py
    examples/tuning_test.py
    examples/tutorial_test.py
    kfac/python/kernel_tests/contrib_test.py
    kfac/python/kernel_tests/curvature_matrix_vector_products_test.py
    kfac/python/kernel_tests/estimator_test.py
    kfac/python/kernel_tests/factor_updates_test.py
    kfac/python/kernel_tests/fisher_blocks/base_test.py
    kfac/python/kernel_tests/fisher_blocks/contract_test.py
    kfac/python/kernel_tests/fisher_factors/convolution_test.py
    kfac/python/kernel_tests/fisher_factors/dense_test.py
    kfac/python/kernel_tests/golden_test.py
    kfac/python/kernel_tests/kfac_utils/background_test.py
    kfac/python/kernel_tests/kfac_utils/periodic_inv_cov_update_kfac_opt_test.py
    kfac/python/kernel_tests/layer_collection/collection_objects_test.py
    kfac/python/kernel_tests/layer_collection/collection_test.py
    kfac/python/kernel_tests/linear_operator_test.py
    kfac/python/kernel_tests/optimizer/arguments_test.py
    kfac/python/kernel_tests/optimizer/damping_adaptation_test.py
    kfac/python/kernel_tests/optimizer/damping_test.py
    kfac/python/kernel_tests/optimizer/kfac_optimizer_test.py
    kfac/python/kernel_tests/placement_test.py
    kfac/python/kernel_tests/repository/architecture_test.py
    kfac/python/kernel_tests/repository/docs_adding_a_layer_test.py
    kfac/python/kernel_tests/repository/docs_test.py
    kfac/python/kernel_tests/repository/hints_test.py
    kfac/python/kernel_tests/repository/packaging_test.py
    kfac/python/kernel_tests/tools/port_programs_test.py
    kfac/python/kernel_tests/tools/port_test.py
    kfac/python/kernel_tests/utils/correlations_test.py
"""
SIZES = {path: "medium" for path in _MEDIUM.split()}

# Test -> number of parts that Bazel divides it into.
SHARDS = {
    "examples/autoencoder_test.py": 2,
    "kfac/python/kernel_tests/fisher_factors/convolution_test.py": 2,
    "kfac/python/kernel_tests/golden_test.py": 3,
    "kfac/python/kernel_tests/optimizer/kfac_optimizer_test.py": 2,
    "kfac/python/kernel_tests/repository/docs_test.py": 4,
}

# Folders of tests that read more of the tree than their `data` can list.
READ_THE_TREE = ("kfac/python/kernel_tests/repository",)

# A test that imports this module reads pages.
PAGES = "kfac.python.kernel_tests.repository.pages"

# Files that import modules of kfac by their names.
IMPORT_BY_NAME = (
    "kfac/python/kernel_tests/repository/architecture_test.py",
    "kfac/python/kernel_tests/repository/docs_site_test.py",
    "kfac/python/kernel_tests/repository/hints_test.py",
    "kfac/python/kernel_tests/repository/member_reads_test.py",
)

# Fast tests, one of each kind: rules of the tree, packaging, a graph.
SMOKE = (
    "kfac/python/kernel_tests/op_queue_test.py",
    "kfac/python/kernel_tests/repository/architecture_test.py",
    "kfac/python/kernel_tests/repository/build_files_test.py",
    "kfac/python/kernel_tests/repository/packaging_test.py",
)

# Folder -> first line of its BUILD file, where there is no `__init__.py` whose
# docstring gives it.
COMMENTS = {
    "": "The packaging of the root; code is below kfac/ and examples/.",
    "examples/data": "A sample of MNIST; its source and licence are in "
                     "README.md.",
    "g3doc": "The documentation, with its pictures.",
}

# Folders that hold no code, and are read as one.
DATA_FOLDERS = ("examples/data", "g3doc")

# BUILD file -> its text: stand-ins for what Bazel would fetch.
_RULES = "# A stand-in: defs.bzl names the rules that are built into Bazel.\n"
STAND_INS = {
    "third_party/bazel/rules_cc/cc/BUILD": _RULES,
    "third_party/bazel/rules_java/java/BUILD": _RULES,
    "third_party/bazel/remote_coverage_tools/BUILD": """\
# A stand-in: tests are run without coverage.

filegroup(
    name = "coverage_report_generator",
    visibility = ["//visibility:public"],
)
""",
}
