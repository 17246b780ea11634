// A swap that changes only what differs, so that focus, scroll, open menus and running animations stay.
// Elements match by id, else by position and tag. [data-keep] belongs to a script and is never touched.

const STATEFUL = new Set(["open", "style", "data-have"]);

function matches(a, b) {
  if (a.nodeType !== b.nodeType || a.nodeName !== b.nodeName) return false;
  return a.nodeType !== Node.ELEMENT_NODE || (a.id || "") === (b.id || "");
}

function morphAttributes(from, to) {
  for (const { name, value } of [...to.attributes]) {
    if (!(STATEFUL.has(name) && from.hasAttribute(name)) && from.getAttribute(name) !== value) {
      from.setAttribute(name, value);
    }
  }
  for (const { name } of [...from.attributes]) {
    if (!to.hasAttribute(name) && !STATEFUL.has(name)) from.removeAttribute(name);
  }
}

function morphNode(from, to) {
  if (from.nodeType !== Node.ELEMENT_NODE) {
    if (from.nodeValue !== to.nodeValue) from.nodeValue = to.nodeValue;
    return;
  }
  if (from.hasAttribute("data-keep")) return;
  // What somebody is typing into is theirs.
  if (from === document.activeElement && /^(INPUT|TEXTAREA|SELECT)$/.test(from.nodeName)) return;
  morphAttributes(from, to);
  morphChildren(from, to);
}

export function morphChildren(from, to) {
  const byId = new Map();
  for (const child of from.children) if (child.id) byId.set(child.id, child);
  let current = from.firstChild;
  for (const wanted of [...to.childNodes]) {
    const named = wanted.id ? byId.get(wanted.id) : null;
    if (named && named !== current && named.nodeName === wanted.nodeName) from.insertBefore(named, current);
    const candidate = named && named.nodeName === wanted.nodeName ? named : current;
    if (candidate && matches(candidate, wanted)) {
      morphNode(candidate, wanted);
      current = candidate.nextSibling;
    } else {
      from.insertBefore(wanted, current);
    }
  }
  while (current) {
    const next = current.nextSibling;
    current.remove();
    current = next;
  }
}

htmx.defineExtension("morph", {
  isInlineSwap: (style) => style === "morph",
  handleSwap(style, target, fragment) {
    if (style !== "morph") return false;
    morphChildren(target, fragment);
    return [target];
  },
});
