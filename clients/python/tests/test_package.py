"""The package as it is installed."""

from __future__ import annotations

import re
import unittest
from importlib import metadata

# Besides those of deny.toml: the Python Software Foundation's, which `typing_extensions` has.
LICENCES = {"MIT", "MIT-0", "Apache-2.0", "BSD-3-Clause", "Apache-2.0 OR BSD-3-Clause", "PSF-2.0"}
# Of packages without `License-Expression`.
CLASSIFIERS = {"License :: OSI Approved :: Apache Software License", "License :: OSI Approved :: MIT License"}


def needed(name: str, known: set[str]) -> set[str]:
    """The names of all packages that this one needs at run time."""
    for requirement in metadata.requires(name) or []:
        other = re.split(r"[\s<>=!~;\[(]", requirement)[0].lower()
        if "extra ==" in requirement or other in known:
            continue
        try:
            metadata.distribution(other)
        except metadata.PackageNotFoundError:
            continue  # For another system or version of Python
        known |= {other} | needed(other, known | {other})
    return known


class Package(unittest.TestCase):
    def test_all_dependencies_have_an_accepted_licence(self) -> None:
        names = needed("meed-client", set())
        self.assertLessEqual({"cryptography", "rfc8785", "urllib3"}, names)
        for name in names:
            described = metadata.metadata(name)
            licence = described["License-Expression"] if "License-Expression" in described else None
            classifiers = {text for text in described.get_all("Classifier") or [] if text.startswith("License ::")}
            self.assertTrue(licence in LICENCES or classifiers & CLASSIFIERS, f"{name}: {licence}, {classifiers}")

    def test_it_says_what_it_is(self) -> None:
        described = metadata.metadata("meed-client")
        self.assertEqual(described["License-Expression"], "MIT OR Apache-2.0")
        self.assertEqual(described.get_all("License-File"), ["LICENSE-APACHE", "LICENSE-MIT"])
        files = {str(file) for file in metadata.files("meed-client") or []}
        self.assertLessEqual({"meed_client/py.typed", "meed_client/models.py"}, files)
