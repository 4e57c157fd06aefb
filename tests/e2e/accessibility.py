"""What Chromium tells a screen reader of a part of the page: roles, names, states."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from playwright.sync_api import Locator

__all__ = ["CONTROLS", "Spoken", "focus_walk", "spoken"]

CONTROLS = {"button", "checkbox", "combobox", "textbox", "grid", "spinbutton", "radio", "tab"}
MARK = "data-spoken"
FOCUSED = """root => {
    const node = document.activeElement;
    if (!root.contains(node)) return null;
    const around = [node, node.parentElement, node.closest('label'), node.closest('.vnb-chip')]
        .filter(Boolean);
    const lined = each => each.boxShadow !== 'none'
        || (each.outlineStyle !== 'none' && parseFloat(each.outlineWidth) > 0);
    const ring = around.map(each => getComputedStyle(each)).some(lined);
    const box = node.getBoundingClientRect();
    const text = node.getAttribute('aria-label') || node.innerText || node.id;
    return {tag: node.tagName, text, ring, inside: box.width > 0 && box.height > 0};
}"""


@dataclass
class Spoken:
    """A node of the accessibility tree."""

    role: str
    name: str
    states: dict[str, Any]
    children: list[Spoken] = field(default_factory=list)

    def all(self, *roles: str) -> list[Spoken]:
        """Return the nodes under it, in the order in which they are read."""
        return [each for each in self._walk() if not roles or each.role in roles]

    def one(self, role: str, name: str) -> Spoken:
        """Return the node of this role whose name begins so."""
        found = [each for each in self.all(role) if each.name.startswith(name)]
        known = [each.name for each in self.all(role)]
        assert len(found) == 1, f"{role} {name!r}: {len(found)} found among {known}"
        return found[0]

    def nameless(self) -> list[str]:
        """Return the roles of controls that have no name."""
        return [each.role for each in self.all(*CONTROLS) if not each.name.strip()]

    def _walk(self) -> Iterator[Spoken]:
        for child in self.children:
            yield child
            yield from child._walk()


def spoken(place: Locator) -> Spoken:
    """Return the accessibility tree of an element."""
    place.evaluate(f"node => node.setAttribute('{MARK}', '')")
    session = place.page.context.new_cdp_session(place.page)
    try:
        document = session.send("DOM.getDocument", {"depth": 0})["root"]["nodeId"]
        query = {"nodeId": document, "selector": f"[{MARK}]"}
        found = session.send("DOM.describeNode", session.send("DOM.querySelector", query))
        session.send("Accessibility.enable")
        nodes = session.send("Accessibility.getFullAXTree")["nodes"]
    finally:
        session.detach()
        place.evaluate(f"node => node.removeAttribute('{MARK}')")
    known = {node["nodeId"]: node for node in nodes}
    top = next(n for n in nodes if n.get("backendDOMNodeId") == found["node"]["backendNodeId"])
    return Spoken("", "", {}, list(_told(top, known)))


def _told(node: dict[str, Any], known: dict[str, Any]) -> Iterator[Spoken]:
    children = [
        each
        for child in node.get("childIds", [])
        if child in known
        for each in _told(known[child], known)
    ]
    if node.get("ignored"):
        yield from children
        return
    states = {each["name"]: each["value"].get("value") for each in node.get("properties", [])}
    yield Spoken(node["role"]["value"], node.get("name", {}).get("value", ""), states, children)


def focus_walk(place: Locator, *, most: int = 60) -> list[dict[str, Any]]:
    """Press Tab from the first control of `place` until it is left; return where the focus was."""
    place.evaluate("""root => {
        const all = 'button, input, select, textarea, [tabindex="0"]';
        const first = [...root.querySelectorAll(all)].find(
            node => node.tabIndex >= 0 && !node.disabled && node.checkVisibility());
        first.focus({focusVisible: true});
    }""")
    found = []
    while len(found) < most and (now := place.evaluate(FOCUSED)) is not None:
        found.append(now)
        place.page.keyboard.press("Tab")
    return found
