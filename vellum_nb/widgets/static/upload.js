// Picks a file and sends it in pieces of 1 MiB, each after the last one was acknowledged.
import { Drawn, h, put, say, widget } from "./kit.js";

const PIECE = 1024 * 1024;
const megabytes = (bytes) => `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;

function draw(model, el) {
  const drawn = new Drawn(model, el);
  let sending = null;
  const input = h("input", { type: "file", accept: model.get("accept"), "aria-label": model.get("label"), onchange: () => {
    start(input.files);
    input.value = "";
  } });
  const status = h("span", { class: "vnb-upload-status", role: "status" });
  const drop = (event) => {
    event.preventDefault();
    start(event.dataTransfer.files);
  };
  el.append(h("label", { class: "vnb-upload", ondragover: (event) => event.preventDefault(), ondrop: drop }, "Choose a file…", input), status);

  function report(text, bad = false) {
    say(status, text);
    put(status, "role", bad ? "alert" : "status");
    status.classList.toggle("vnb-loud", bad);
  }

  async function piece(at) {
    const mine = sending;
    const buffer = await mine.file.slice(at, at + PIECE).arrayBuffer();
    if (sending === mine) model.send({ kind: "piece", id: mine.id }, undefined, [buffer]);
  }

  function start([file]) {
    if (!file) return;
    const { name, size, type } = file;
    const limit = model.get("max_bytes");
    sending = null;
    if (size > limit) {
      report(`${name} is ${megabytes(size)}; uploads end at ${megabytes(limit)}. Nothing was sent. ${model.get("instead")}`, true);
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
    const whole = message.kind === "next";
    if (whole && message.at < size) {
      report(`Sending ${name}: ${Math.round((100 * message.at) / size)} %`);
      piece(message.at).catch((error) => report(`${name} cannot be read: ${error.message}`, true));
    } else {
      report(whole ? "" : `${name} did not arrive whole; try again.`, !whole);
      sending = null;
    }
  }

  drawn.on("msg:custom", receive);
  return drawn;
}

export default widget(draw);
