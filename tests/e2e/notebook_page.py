"""One open notebook in JupyterLab: runs it, looks at its outputs, talks to its kernel."""

import json
import re
import time

COLOUR = re.compile(r"\x1b\[[0-9;]*m")
FIND = "const panel = [...window.jupyterapp.shell.widgets('main')].find(w => w.id === id);"
RUN = f"""async ([id, index]) => {{
    {FIND}
    const {{commands, shell}} = window.jupyterapp;
    shell.activateById(id);
    if (index !== null) panel.content.activeCellIndex = index;
    await commands.execute(index === null ? 'notebook:run-all-cells' : 'notebook:run-cell');
    return panel.content.model.sharedModel.toJSON().cells.flatMap(cell => cell.outputs ?? [])
        .filter(output => output.output_type === 'error')
        .map(output => output.traceback.join('\\n'));
}}"""
EVAL = f"""async ([id, code]) => {{
    {FIND}
    const future = panel.sessionContext.session.kernel.requestExecute(
        {{code, store_history: false, stop_on_error: false}});
    let text = '';
    future.onIOPub = message => {{
        const content = message.content;
        if (message.header.msg_type === 'stream') text += content.text;
        if (message.header.msg_type === 'execute_result') text += content.data['text/plain'];
    }};
    const reply = await future.done;
    if (reply.content.status !== 'ok')
        return {{error: reply.content.traceback?.join('\\n') ?? reply.content.status}};
    return {{text}};
}}"""
SAVE = f"""async (id) => {{
    {FIND}
    await panel.context.save();
}}"""
CLOSE = f"""async (id) => {{
    {FIND}
    if (!panel) return;
    await panel.sessionContext.shutdown();
    panel.context.model.dirty = false;
    panel.dispose();
}}"""
HEIGHT = """(panel) => {
    const outer = panel.querySelector('.jp-WindowedPanel-outer') ?? panel;
    return window.innerHeight + outer.scrollHeight - outer.clientHeight;
}"""
CELLS = """(panel) => {
    const boxes = [...panel.querySelectorAll('.jp-Cell')].map(cell => cell.getBoundingClientRect());
    const {x, y, width} = boxes[0];
    return {x, y, width, height: boxes.at(-1).bottom - y};
}"""


class Notebook:
    """A notebook that is open in the page: a panel of JupyterLab, which is its `scope`."""

    def __init__(self, page, panel_id, *, folder, screenshots):
        self.page = page
        self.folder = folder
        self.scope = page.locator(".jp-NotebookPanel:visible")
        self._id = panel_id
        self._screenshots = screenshots

    def run(self, cell=None):
        """Run one cell (counted from 0, text included) or all; raise when one did."""
        errors = self.page.evaluate(RUN, [self._id, cell])
        if errors:
            msg = "A cell raised:\n" + "\n".join(errors)
            raise AssertionError(COLOUR.sub("", msg))

    def output(self, index=0):
        """Return the output area of a code cell, counted from 0."""
        return self.scope.locator(".jp-CodeCell").nth(index).locator(".jp-Cell-outputArea")

    def kernel_eval(self, code):
        """Run `code` in the kernel; return its output or the repr of its last value."""
        reply = self.page.evaluate(EVAL, [self._id, code])
        if "error" in reply:
            msg = f"The kernel raised:\n{reply['error']}"
            raise AssertionError(COLOUR.sub("", msg))
        return str(reply["text"]).strip()

    def saved(self):
        """Save the notebook; return the content of its file."""
        self.page.evaluate(SAVE, self._id)
        (file,) = self.folder.glob("*.ipynb")
        return json.loads(file.read_text("utf-8"))

    def kernel_becomes(self, code, text, *, seconds=20):
        """Wait until `kernel_eval` gives `text`: what is typed in the page takes a moment."""
        deadline = time.monotonic() + seconds
        while (found := self.kernel_eval(code)) != text:
            if time.monotonic() > deadline:
                msg = f"{code} in the kernel: expected {text}, found {found}"
                raise AssertionError(msg)
            self.page.wait_for_timeout(20)

    def screenshot(self, name, of=None):
        """Take a picture of an output (default: all cells), however tall it is, if it is kept."""
        if self._screenshots is None:
            return None
        size = self.page.viewport_size
        assert size is not None
        height = min(int(self.scope.evaluate(HEIGHT)) + 20, 5000)
        self.page.set_viewport_size({"width": size["width"], "height": height})
        path = self._screenshots / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        if of is None:
            clip = self.scope.evaluate(CELLS)
            self.page.screenshot(path=path, clip=clip, animations="disabled")
        else:
            of.screenshot(path=path, animations="disabled")
        self.page.set_viewport_size(size)
        return path

    def close(self):
        """Shut the kernel down and close the panel."""
        self.page.evaluate(CLOSE, self._id)
