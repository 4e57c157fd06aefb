"""Take ``docs/quickstart.png``: the form, run on two release tags, in a real JupyterLab."""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS.parent / "tests" / "e2e"), str(DOCS.parent / "tests")]

from form_page import FormPage  # noqa: E402
from lab import Lab, chromium  # noqa: E402
from lab_server import lab_server  # noqa: E402

CELLS = ['import vellum_nb as vnb\n\nws = vnb.connect("local")', 'ws.form("ticket-triage")']
TICKET = (
    "Hi, I was charged twice for March (€49.00 on 3 March and again on 5 March, same card). "
    "I have written three mails since then and nobody answers. Please refund the second charge, "
    "otherwise I will cancel at the end of the month. My invoice number is INV-20931."
)


def main() -> None:
    """Write the picture."""
    with (
        TemporaryDirectory() as folder,
        lab_server(Path(folder)) as url,
        chromium() as browser,
    ):
        lab = Lab(browser, url, Path(folder), screenshots=DOCS, scale=2)
        notebook = lab.run_notebook(CELLS, width=1060)
        form = FormPage(notebook, cell=1)
        form.field("ticket *").fill(TICKET)
        form.run_on("v1", "v2")
        form.run.click()
        form.column("v2").get_by_text("FULFILLED").wait_for()
        lab.page.mouse.move(0, 0)
        picture = notebook.screenshot("quickstart")
        lab.close_notebooks()
        troubles = lab.guard.take()
    print(f"wrote {picture}")
    if troubles:
        sys.exit("\n".join(troubles))


if __name__ == "__main__":
    main()
