// Snippets of language servers in the syntax of CodeMirror. Pure.

/** The number of `$0`, where the cursor ends: after all others. */
const LAST = 999;

/**
 * Translates `${1:name}`, `$1`, `${1|one,two|}` and `$0`. Of a choice, the first is taken; placeholders in
 * placeholders are plain text; variables are empty or their default.
 */
export function toTemplate(snippet: string): string {
  let template = "";
  let at = 0;
  while (at < snippet.length) {
    const char = snippet[at] ?? "";
    if (char === "\\" && at + 1 < snippet.length) {
      template += escape(snippet[at + 1] ?? "");
      at += 2;
      continue;
    }
    const field = char === "$" ? readField(snippet, at) : null;
    if (!field) {
      template += escape(char);
      at += 1;
      continue;
    }
    template +=
      field.number === null
        ? escape(field.text)
        : `\${${field.number === 0 ? LAST : field.number}${field.text && `:${fieldText(field.text)}`}}`;
    at = field.end;
  }
  return template;
}

interface Field {
  /** Null: a variable. */
  number: number | null;
  text: string;
  end: number;
}

function readField(snippet: string, start: number): Field | null {
  const simple = /^\$(?:(\d{1,3})|[A-Za-z_]\w*)/.exec(snippet.slice(start));
  if (simple) return { number: numberOf(simple[1]), text: "", end: start + simple[0].length };
  const open = /^\$\{(?:(\d{1,3})|[A-Za-z_]\w*)([:|}])/.exec(snippet.slice(start));
  if (!open) return null;
  const number = numberOf(open[1]);
  const from = start + open[0].length;
  if (open[2] === "}") return { number, text: "", end: from };
  const end = closingBrace(snippet, from);
  if (end === null) return null;
  const inner = snippet.slice(from, end);
  const text = open[2] === "|" ? firstChoice(inner) : plainText(inner);
  return { number, text, end: end + 1 };
}

const numberOf = (digits: string | undefined): number | null =>
  digits === undefined ? null : Number(digits);

function closingBrace(snippet: string, from: number): number | null {
  let depth = 1;
  for (let at = from; at < snippet.length; at += 1) {
    if (snippet[at] === "\\") at += 1;
    else if (snippet[at] === "{" && snippet[at - 1] === "$") depth += 1;
    else if (snippet[at] === "}") {
      depth -= 1;
      if (depth === 0) return at;
    }
  }
  return null;
}

const firstChoice = (choices: string): string => unescape(/^(?:\\.|[^,|\\])*/.exec(choices)?.[0] ?? "");

/** The text of a placeholder, with the texts of those in it. */
function plainText(inner: string): string {
  let text = "";
  for (let at = 0; at < inner.length;) {
    const field = inner[at] === "$" ? readField(inner, at) : null;
    if (field) {
      text += field.text;
      at = field.end;
    } else if (inner[at] === "\\") {
      text += inner[at + 1] ?? "";
      at += 2;
    } else {
      text += inner[at] ?? "";
      at += 1;
    }
  }
  return text;
}

const unescape = (text: string): string => text.replace(/\\(.)/gs, "$1");
/** What CodeMirror would take for a field. */
const escape = (text: string): string => text.replace(/[{}\\]/g, "\\$&");
/** CodeMirror allows no braces in a field. */
const fieldText = (text: string): string => text.replace(/[{}]/g, "");
