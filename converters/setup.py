"""The version is that of edge-oneshot: read from the checkout, or from PKG-INFO in a source distribution."""

import re
from pathlib import Path

from setuptools import setup

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parent / "edge_oneshot" / "__init__.py"
found = (
    re.search(r'^__version__ = "(.+)"$', CHECKOUT.read_text(encoding="utf-8"), re.MULTILINE)
    if CHECKOUT.is_file()
    else re.search(r"^Version: (.+)$", (HERE / "PKG-INFO").read_text(encoding="utf-8"), re.MULTILINE)
)
assert found is not None
version = found[1]
setup(
    script_name="setup.py",  # the folder is the package: by its name this file is left out of it
    version=version,
    install_requires=[f"edge-oneshot=={version}", "ai-edge-quantizer>=0.10"],
)
