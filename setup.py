"""Packaging of kfac: what is installed, and what it needs."""

import pathlib
import re

import setuptools

# The tests build the site of g3doc/, so they need what it needs.
_DOCS = ["mkdocs-material>=9.6", "mkdocstrings[python]>=1.0"]
_PORT = ["libcst>=1.1"]
_ROOT = pathlib.Path(__file__).resolve().parent


def _read(path):
  return (_ROOT / path).read_text(encoding="utf-8")


def _version():
  """Returns `__version__` of kfac/__init__.py, without importing it."""
  pattern = r'^__version__ = "([^"]+)"$'
  return re.search(pattern, _read("kfac/__init__.py"), re.MULTILINE).group(1)


setuptools.setup(
    name="kfac",
    version=_version(),
    description="K-FAC, a second-order optimizer, for TensorFlow graphs",
    long_description=_read("README.md"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    keywords="kfac natural-gradient second-order optimizer tensorflow",
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Operating System :: OS Independent",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Scientific/Engineering :: Mathematics",
        "Topic :: Software Development :: Libraries :: Python Modules",
        "Typing :: Typed",
    ],
    packages=setuptools.find_packages(
        include=["kfac", "kfac.*"],
        exclude=["kfac.python.kernel_tests", "kfac.python.kernel_tests.*"]),
    # An editable install is then an entry of sys.path. A program in the folder
    # that holds a clone named kfac would not reach a finder of imports, since
    # that folder passes for a namespace package.
    package_dir={"": "."},
    package_data={"kfac": ["py.typed"]},
    python_requires=">=3.10",
    install_requires=["absl-py", "numpy"],
    extras_require={
        "tensorflow": ["tensorflow>=2.15"],
        "tensorflow-cpu": ["tensorflow-cpu>=2.15"],
        "examples": ["matplotlib", "tqdm"],
        "docs": _DOCS,
        "port": _PORT,
        # setuptools builds the package, mypy reads its hints: both are tested.
        "tests": ["codespell>=2.3", "hypothesis>=6.100", "mypy>=1.8",
                  "pytest>=7", "pytest-xdist", "ruff>=0.14",
                  "setuptools>=70.1", *_DOCS, *_PORT],
    },
    # Not "build": where names ignore example, the file BUILD has that name.
    options={"build": {"build_base": "dist/build"}},
)
