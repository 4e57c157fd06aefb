// A bar under each answer, and the text of those that stream. The answers are static HTML, which
// the kernel draws anew when one comes; the bars are kept and moved to their new places.
function render({ model, el }) {
  hearAgain(model);
  const bars = [];
  let answers = null;
  let focused = null;

  function barAt(at) {
    if (!bars[at]) {
      const bar = makeBar(model, at);
      bar.node.addEventListener("focusin", ({ target }) => { focused = target; });
      bar.node.addEventListener("focusout", () => setTimeout(() => {
        if (focused?.isConnected && document.activeElement !== focused) focused = null;
      }));
      bars[at] = bar;
    }
    return bars[at];
  }

  function dress() {
    if (!answers) return;
    const sections = answers.querySelectorAll(".vnb-out-run");
    sections.forEach((section, at) => {
      const { node, take } = barAt(at);
      const state = model.get("bars")[at];
      if (node.parentNode !== section) section.append(node);
      if (state) take(state);
      const live = model.get("live")[at];
      if (live && section.classList.contains("vnb-out-live")) showLive(section, live);
    });
    bars.splice(sections.length);
    if (focused?.isConnected && !focused.disabled && document.activeElement === document.body) {
      focused.focus({ preventScroll: true });
    }
  }

  const observer = new MutationObserver((changes) => {
    if (changes.some(({ target }) => !target.closest?.(".vnb-out-foot, .vnb-live"))) dress();
  });
  let frame = requestAnimationFrame(function attach() {
    answers = el.closest(".vnb-results")?.querySelector(".vnb-answers");
    if (!answers) { frame = requestAnimationFrame(attach); return; }
    observer.observe(answers, { childList: true, subtree: true });
    dress();
  });
  const heard = ["change:texts", "change:bars", "change:live"];
  for (const event of heard) model.on(event, dress);
  return () => {
    cancelAnimationFrame(frame);
    observer.disconnect();
    for (const event of heard) model.off(event, dress);
  };
}

export default { render };
