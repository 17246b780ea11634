// SGR colours in log lines. Every other escape sequence is dropped: a log must not steer the page.

// eslint-disable-next-line no-control-regex
const SEQUENCE = /\u001b(?:\[([0-9;:]*)([A-Za-z])|\][^\u0007\u001b]*(?:\u0007|\u001b\\)|[@-Z\\-_])/g;
const NAMES = ["black", "red", "green", "yellow", "blue", "magenta", "cyan", "white"];

export function plain(text) {
  return text.includes("\u001b") ? text.replace(SEQUENCE, "") : text;
}

function next(style, codes) {
  const list = codes === "" ? [0] : codes.split(/[;:]/).map(Number);
  for (let i = 0; i < list.length; i += 1) {
    const code = list[i];
    if (code === 0) style = {};
    else if (code === 1) style = { ...style, bold: true };
    else if (code === 2) style = { ...style, dim: true };
    else if (code === 3) style = { ...style, italic: true };
    else if (code === 4) style = { ...style, underline: true };
    else if (code === 22) style = { ...style, bold: false, dim: false };
    else if (code === 39) style = { ...style, color: "" };
    else if (code >= 30 && code <= 37) style = { ...style, color: NAMES[code - 30] };
    else if (code >= 90 && code <= 97) style = { ...style, color: `bright-${NAMES[code - 90]}` };
    else if (code === 38 || code === 48) {
      if (list[i + 1] === 5) {
        if (code === 38 && list[i + 2] < 16) style = { ...style, color: (list[i + 2] > 7 ? "bright-" : "") + NAMES[list[i + 2] % 8] };
        i += 2;
      } else if (list[i + 1] === 2) i += 4;
    }
  }
  return style;
}

function classes(style) {
  const names = ["bold", "dim", "italic", "underline"].filter((name) => style[name]).map((name) => `a-${name}`);
  if (style.color) names.push(`a-${style.color}`);
  return names.join(" ");
}

/** A line as [text, classes] pairs. */
export function runs(text) {
  if (!text.includes("\u001b")) return [[text, ""]];
  const found = [];
  let style = {};
  let at = 0;
  for (const match of text.matchAll(SEQUENCE)) {
    if (match.index > at) found.push([text.slice(at, match.index), classes(style)]);
    if (match[2] === "m") style = next(style, match[1]);
    at = match.index + match[0].length;
  }
  if (at < text.length) found.push([text.slice(at), classes(style)]);
  return found;
}
