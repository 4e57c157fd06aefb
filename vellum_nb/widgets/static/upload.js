// Sends a file in chunks of 1 MiB. Each waits for the kernel to acknowledge the one before.
import { WidgetView, h, setAttribute, setText, widget } from "./kit.js";

const CHUNK_BYTES = 1024 * 1024;
const megabytes = (bytes) => `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;

function createView(model, el) {
  const view = new WidgetView(model, el);
  let sending = null;
  const input = h("input", {
    type: "file",
    accept: model.get("accept"),
    "aria-label": model.get("label"),
    onchange: () => {
      start(input.files);
      input.value = "";
    },
  });
  const status = h("span.vnb-upload-status", { role: "status" });
  const ondrop = (event) => {
    event.preventDefault();
    start(event.dataTransfer.files);
  };
  const ondragover = (event) => event.preventDefault();
  el.append(h("label.vnb-upload", { ondragover, ondrop }, "Choose a file…", input), status);

  function report(text, isError = false) {
    setText(status, text);
    setAttribute(status, "role", isError ? "alert" : "status");
    status.classList.toggle("vnb-loud", isError);
  }

  async function sendChunk(offset) {
    const upload = sending;
    const buffer = await upload.file.slice(offset, offset + CHUNK_BYTES).arrayBuffer();
    if (sending === upload) model.send({ kind: "piece", id: upload.id }, undefined, [buffer]);
  }

  function start([file]) {
    if (!file) return;
    const { name, size, type } = file;
    const limit = model.get("max_bytes");
    const instead = model.get("instead");
    sending = null;
    if (size > limit) {
      const sizes = `${name} has ${megabytes(size)}; the limit is ${megabytes(limit)}.`;
      report(`${sizes} Nothing was sent. ${instead}`, true);
      return;
    }
    sending = { file, id: String(Math.random()) };
    report(`Sending ${name}…`);
    model.send({ kind: "start", id: sending.id, name, size, type });
  }

  function receive(message) {
    if (message.do === "focus") input.focus();
    if (!sending || message.id !== sending.id) return;
    const { name, size } = sending.file;
    const isNext = message.kind === "next";
    if (isNext && message.at < size) {
      report(`Sending ${name}: ${Math.round((100 * message.at) / size)} %`);
      sendChunk(message.at).catch((error) =>
        report(`${name} cannot be read: ${error.message}`, true),
      );
    } else {
      report(isNext ? "" : `${name} was not received completely. Try again.`, !isNext);
      sending = null;
    }
  }

  view.on("msg:custom", receive);
  return view;
}

export default widget(createView);
