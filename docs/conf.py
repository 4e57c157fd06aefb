"""The site of the documentation: these pages, the executed notebooks, and the docstrings.

Sphinx with MyST-NB: it builds offline, reads Markdown, notebooks and docstrings, and is maintained.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from docutils import nodes
from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.transforms import SphinxTransform

import vellum_nb

project = "vellum_nb"
version = release = vellum_nb.__version__
copyright = "The vellum_nb team"  # noqa: A001

root_doc = "docs/contents"
include_patterns = ["docs/**", "notebooks/*.ipynb", "*.md", "benchmarks/README.md"]
exclude_patterns = [".*", "tests", "vellum_nb", "build"]
extensions = ["myst_nb", "sphinx.ext.autodoc", "numpydoc", "sphinx_copybutton", "sphinx_design"]

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
nb_execution_mode = "off"
nb_merge_streams = True

default_role = "py:obj"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
numpydoc_show_class_members = False

copybutton_selector = "div.highlight:not(.cell_output *) pre"  # code, not outputs of notebooks
copybutton_prompt_text = ">>> "
copybutton_copy_empty_lines = False

html_theme = "furo"
html_theme_options = {"top_of_page_buttons": []}
pygments_dark_style = "github-dark"
html_title = f"vellum_nb {release}"
html_extra_path = ["site"]  # index.html, which leads to the first page; a style sheet
html_css_files = ["../vellum_nb.css"]


class DarkScreenshots(SphinxTransform):
    """Add the dark version of each screenshot; Furo shows the one of its theme.

    The pages name only the light one, because GitHub displays them, too.
    """

    default_priority = 400

    def apply(self, **_: object) -> None:
        """Insert the images."""
        for light in list(self.document.findall(nodes.image)):
            if "screenshots/" in light["uri"]:
                dark = light.deepcopy()
                dark["uri"] = light["uri"].replace(".webp", "-dark.webp")
                light["classes"].append("only-light")
                dark["classes"].append("only-dark")
                light["loading"] = dark["loading"] = "lazy"
                light.parent.insert(light.parent.index(light) + 1, dark)


def setup(app: Sphinx) -> None:
    """Let blocks of CSV be plain text, and write ``llms.txt`` next to the pages."""
    app.add_lexer("csv", TextLexer)
    app.add_transform(DarkScreenshots)
    app.connect("build-finished", write_llms_txt)


def write_llms_txt(app: Sphinx, error: Exception | None) -> None:
    """List every page with its source and first sentence, for programs that read documentation."""
    if error is None:
        lines = [f"# {project}", "", "> A Jupyter toolkit for Vellum workflows.", ""]
        lines += [entry(app.env, name) for name in in_order(app.env, root_doc)]
        (Path(app.outdir) / "llms.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def in_order(env: BuildEnvironment, name: str) -> Iterator[str]:
    """Yield `name` and the pages below it, in the order of the tables of contents."""
    yield name
    for child in env.toctree_includes.get(name, ()):
        yield from in_order(env, child)


def entry(env: BuildEnvironment, name: str) -> str:
    """Return a line of ``llms.txt``."""
    paragraph = next(env.get_doctree(name).findall(nodes.paragraph), None)
    first = "" if paragraph is None else paragraph.astext().replace("\n", " ").partition(". ")[0]
    source = f"_sources/{env.doc2path(name, base=False)}.txt"
    return f"- [{env.titles[name].astext()}]({source}): {first}"
