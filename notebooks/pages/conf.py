"""How the site is built from these pages and the executed notebooks; `build.py` beside it is the command.

Sphinx with MyST, because it shows stored outputs without running anything, checks every link, and needs no network; furo has
no scripts or fonts from elsewhere.
"""

from importlib.metadata import version as installed

project, author, copyright = "lrtheory", "The lrtheory developers", "The lrtheory developers"
version = release = installed("lrtheory")
extensions = ["myst_nb"]
exclude_patterns = ["*.py", "pages/*.py", "pages/__pycache__", "**.ipynb_checkpoints"]
nb_execution_mode = "off"  # outputs are stored, and tested to be those of their code
nb_merge_streams = True
myst_heading_anchors = 3
html_theme = "furo"
html_title = f"lrtheory {release}"
html_static_path, html_css_files = ["static"], ["site.css"]
html_extra_path = ["../../build/api"]  # the API reference, by pdoc
html_show_sphinx = False
html_theme_options = {"navigation_with_keys": True}
