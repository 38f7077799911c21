// Shows Markdown of language servers. It comes from a guest, so it becomes elements one by one: there is no
// HTML in it, and no address but those of web pages.
import { parser } from "@lezer/markdown";
import type { SyntaxNode } from "@lezer/common";
import { highlightCode, classHighlighter } from "@lezer/highlight";
import { languageOf } from "../editor/languages";

const BLOCKS: Record<string, keyof HTMLElementTagNameMap> = {
  Paragraph: "p",
  Blockquote: "blockquote",
  BulletList: "ul",
  OrderedList: "ol",
  ListItem: "li",
  Emphasis: "em",
  StrongEmphasis: "strong",
};
/** Parts that show nothing themselves. */
const MARKS = new Set(["HeaderMark", "QuoteMark", "ListMark", "EmphasisMark", "CodeMark", "LinkMark"]);
/** Names of languages in fences, as ends of files. */
const FENCES: Record<string, string> = {
  python: "py",
  typescript: "ts",
  javascript: "js",
  typescriptreact: "tsx",
  javascriptreact: "jsx",
  shellscript: "sh",
  rust: "rs",
};

export function renderMarkdown(text: string): HTMLElement {
  const root = document.createElement("div");
  root.className = "markdown";
  appendChildren(root, parser.parse(text).topNode, text);
  return root;
}

function appendChildren(parent: HTMLElement, node: SyntaxNode, text: string, from = node.from): void {
  let at = from;
  const isBlock = ["Document", "BulletList", "OrderedList", "Blockquote"].includes(node.name);
  for (let child = node.firstChild; child; child = child.nextSibling) {
    if (child.from < at) continue;
    if (!isBlock) appendText(parent, text.slice(at, child.from));
    appendNode(parent, child, text);
    at = child.to;
  }
  if (!isBlock) appendText(parent, text.slice(at, node.to));
}

function appendText(parent: HTMLElement, text: string): void {
  if (text) parent.append(text.replace(/\n/g, " "));
}

function appendNode(parent: HTMLElement, node: SyntaxNode, text: string): void {
  const source = text.slice(node.from, node.to);
  const tag = BLOCKS[node.name];
  if (tag) return appendElement(parent, tag, node, text);
  if (/^(ATX|Setext)Heading/.test(node.name)) return appendElement(parent, "h4", node, text);
  if (MARKS.has(node.name)) return;
  switch (node.name) {
    case "FencedCode":
    case "CodeBlock":
      return appendCode(parent, node, text);
    case "InlineCode": {
      const code = document.createElement("code");
      code.textContent = source.replace(/^`+ ?| ?`+$/g, "");
      parent.append(code);
      return;
    }
    case "Link":
    case "Autolink":
    case "URL":
      return appendLink(parent, node, text);
    case "Escape":
      parent.append(source.slice(1));
      return;
    case "Entity":
      parent.append(ENTITIES[source] ?? source);
      return;
    case "HorizontalRule":
      parent.append(document.createElement("hr"));
      return;
    case "HardBreak":
      parent.append(document.createElement("br"));
      return;
    case "LinkTitle":
    case "LinkReference":
    case "CodeInfo":
      return;
    case "HTMLBlock":
      appendText(parent, source);
      return;
    default:
      if (node.firstChild) appendChildren(parent, node, text);
      else appendText(parent, source);
  }
}

const ENTITIES: Record<string, string> = {
  "&nbsp;": " ",
  "&lt;": "<",
  "&gt;": ">",
  "&amp;": "&",
  "&quot;": '"',
};

function appendElement(
  parent: HTMLElement,
  tag: keyof HTMLElementTagNameMap,
  node: SyntaxNode,
  text: string,
): void {
  const element = document.createElement(tag);
  const mark = node.firstChild;
  // The space after the mark of a heading or an item is no text.
  const from = mark && MARKS.has(mark.name) && mark.from === node.from ? mark.to : node.from;
  const space = /^[ \t]*/.exec(text.slice(from, node.to))?.[0].length ?? 0;
  appendChildren(element, node, text, from + (from > node.from ? space : 0));
  parent.append(element);
}

function appendLink(parent: HTMLElement, node: SyntaxNode, text: string): void {
  const address = node.name === "URL" ? node : node.getChild("URL");
  const href = address ? text.slice(address.from, address.to) : "";
  const marks = node.getChildren("LinkMark");
  const [open, close] = marks;
  const label =
    node.name === "Link" && open && close ? text.slice(open.to, close.from) : href.replace(/^<|>$/g, "");
  if (!/^https?:\/\//.test(href)) {
    parent.append(label);
    return;
  }
  const link = document.createElement("a");
  link.href = href;
  link.target = "_blank";
  link.rel = "noopener noreferrer";
  link.textContent = label.replace(/[`*]/g, "");
  parent.append(link);
}

function appendCode(parent: HTMLElement, node: SyntaxNode, text: string): void {
  const info = node.getChild("CodeInfo");
  const name = info ? text.slice(info.from, info.to) : "";
  const code = node
    .getChildren("CodeText")
    .map(({ from, to }) => text.slice(from, to))
    .join("");
  const block = document.createElement("pre");
  block.textContent = code;
  parent.append(block);
  void highlight(block, code, FENCES[name] ?? name);
}

/** Colours the code once its language is loaded. */
async function highlight(block: HTMLElement, code: string, end: string): Promise<void> {
  const language = languageOf(`x.${end}`);
  if (!language) return;
  const { LanguageSupport } = await import("@codemirror/language");
  const support = await language.load();
  if (!(support instanceof LanguageSupport)) return;
  block.replaceChildren();
  highlightCode(
    code,
    support.language.parser.parse(code),
    classHighlighter,
    (piece, classes) => {
      const element = document.createElement("span");
      element.className = classes;
      element.textContent = piece;
      block.append(element);
    },
    () => block.append("\n"),
  );
}
