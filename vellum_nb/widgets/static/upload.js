// Picks a file and sends it in pieces of 1 MiB, each after the last one was acknowledged.
import { resync } from "./kit.js";

const PIECE = 1024 * 1024;

function megabytes(bytes) {
  return `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;
}

function render({ model, el }) {
  resync(model);
  const label = document.createElement("label");
  label.className = "vnb-upload";
  const input = document.createElement("input");
  input.type = "file";
  input.accept = model.get("accept");
  input.setAttribute("aria-label", model.get("label"));
  label.append("Choose a file…", input);
  const status = document.createElement("span");
  status.className = "vnb-upload-status";
  status.setAttribute("role", "status");
  el.append(label, status);
  let sending = null;

  function report(text, bad) {
    status.textContent = text;
    status.classList.toggle("vnb-loud", Boolean(bad));
    if (bad) status.setAttribute("role", "alert");
    else status.setAttribute("role", "status");
  }

  async function piece(at) {
    const mine = sending;
    const buffer = await mine.file.slice(at, at + PIECE).arrayBuffer();
    if (sending === mine) model.send({ kind: "piece", id: mine.id }, undefined, [buffer]);
  }

  function start(file) {
    const limit = model.get("max_bytes");
    if (file.size > limit) {
      sending = null;
      report(
        `${file.name} is ${megabytes(file.size)}; uploads end at ${megabytes(limit)}. ` +
          `Nothing was sent. ${model.get("instead")}`,
        true,
      );
      return;
    }
    sending = { file, id: crypto.randomUUID ? crypto.randomUUID() : String(Math.random()) };
    report(`Sending ${file.name}…`);
    const { name, size, type } = file;
    model.send({ kind: "start", id: sending.id, name, size, type });
  }

  function receive(message) {
    if (message.do === "focus") input.focus();
    if (!sending || message.id !== sending.id) return;
    const { file } = sending;
    if (message.kind === "next" && message.at < file.size) {
      report(`Sending ${file.name}: ${Math.round((100 * message.at) / file.size)} %`);
      piece(message.at).catch((error) => report(`${file.name} cannot be read: ${error.message}`, true));
    } else {
      const whole = message.kind === "next";
      report(whole ? "" : `${file.name} did not arrive whole; try again.`, !whole);
      sending = null;
    }
  }

  input.addEventListener("change", () => {
    if (input.files.length) start(input.files[0]);
    input.value = "";
  });
  label.addEventListener("dragover", (event) => event.preventDefault());
  label.addEventListener("drop", (event) => {
    event.preventDefault();
    if (event.dataTransfer.files.length) start(event.dataTransfer.files[0]);
  });
  model.on("msg:custom", receive);
  return () => model.off("msg:custom", receive);
}

export default { render };
