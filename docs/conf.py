"""The documentation site: Sphinx, pages in MyST Markdown. `make docs` builds it into docs/_build/html."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "extensions"))

import autovid

project = "autovid"
author = "the autovid contributors"
version = release = autovid.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "reference_pages"]
exclude_patterns = ["_build", "extensions"]
myst_heading_anchors = 3  # a page can link to a heading of another

default_role = "code"  # docstrings write `name`
smartquotes = False  # --flops stays --flops
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_class_signature = "mixed"
python_use_unqualified_type_names = True

html_theme = "furo"
html_static_path = ["static"]
html_css_files = ["tables.css"]
html_title = f"autovid {version}"
html_show_sourcelink = False
html_show_sphinx = False
html_show_copyright = False
html_copy_source = False
