"""Sphinx configuration: MyST Markdown, furo, every warning an error (`-n -W`)."""

import sys
from importlib.metadata import version as version_of
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

project = "Moreton"
author = "the Moreton authors"
copyright = "the Moreton authors, Apache-2.0"  # noqa: A001 - Sphinx's name
release = version_of("moreton")

extensions = ["myst_parser", "sphinx.ext.autodoc", "charts"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence", "deflist"]
html_theme = "furo"
html_title = "Moreton"
autodoc_typehints = "description"
nitpick_ignore = [("py:obj", "typing.~P")]  # a ParamSpec has no page
# Types in signatures are named and not linked: most have no page here.
nitpick_ignore_regex = [("py:class", ".*")]
