// anywidget gives a model up whose module has not loaded within 2 s, as on a busy machine: it would
// be shown all the same, and never hear the kernel again. Such a model is handed its messages
// without anywidget, and asks for what it missed.
function hearAgain(model) {
  const raw = jupyters(model);
  if (typeof raw?._handle_comm_msg !== "function" || !raw.comm?.on_msg) return;
  const nothing = { content: { data: { method: "nothing" } } };
  raw._handle_comm_msg(nothing).catch(() => {
    if (Object.hasOwn(raw, "_handle_comm_msg")) return;  // another view of the model was first
    let own = raw;
    while (!Object.hasOwn(own, "_handle_comm_msg")) own = Object.getPrototypeOf(own);
    raw._handle_comm_msg = Object.getPrototypeOf(own)._handle_comm_msg;
    raw.comm.on_msg(raw._handle_comm_msg.bind(raw));
    raw.comm.send({ method: "request_state" }, {});
  });
}

function jupyters(model) {
  let raw = null;
  const take = (it) => { raw = it; };
  model.on("change:_vnb_views", take);  // the only way from anywidget's model to Jupyter's own
  model.set("_vnb_views", (model.get("_vnb_views") ?? 0) + 1);
  model.off("change:_vnb_views", take);
  return raw;
}

// Calls when the kernel behind the model ends, which the model itself is not told; gives what ends that.
function whenKernelEnds(model, call) {
  const changed = jupyters(model)?.widget_manager?.kernel?.statusChanged;
  const hear = (_, status) => { if (["restarting", "autorestarting", "terminating", "dead"].includes(status)) call(); };
  changed?.connect(hear);
  return () => changed?.disconnect(hear);
}
