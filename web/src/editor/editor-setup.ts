// The look and behaviour of every editor: keys, colours, indentation. Styles use the page's CSP nonce.
import {
  autocompletion,
  closeBrackets,
  closeBracketsKeymap,
  completionKeymap,
} from "@codemirror/autocomplete";
import { defaultKeymap, indentWithTab } from "@codemirror/commands";
import {
  bracketMatching,
  defaultHighlightStyle,
  foldGutter,
  foldKeymap,
  HighlightStyle,
  indentOnInput,
  indentUnit,
  syntaxHighlighting,
} from "@codemirror/language";
import {
  closeSearchPanel,
  findNext,
  findPrevious,
  highlightSelectionMatches,
  selectNextOccurrence,
  selectSelectionMatches,
} from "@codemirror/search";
import { EditorState, type Extension } from "@codemirror/state";
import {
  crosshairCursor,
  drawSelection,
  dropCursor,
  EditorView,
  highlightActiveLine,
  highlightActiveLineGutter,
  highlightSpecialChars,
  highlightWhitespace,
  keymap,
  type KeyBinding,
  lineNumbers,
  rectangularSelection,
} from "@codemirror/view";
import { tags } from "@lezer/highlight";
import { yUndoManagerKeymap } from "y-codemirror.next";
import { nonce } from "../ui/nonce";
import type { Preferences } from "../ui/preferences";
import { findPanel, openFind } from "./find-panel";
import { withLineEndingsOf } from "./line-endings";

const theme = EditorView.theme({
  "&": {
    height: "100%",
    color: "var(--ink)",
    backgroundColor: "var(--surface)",
    fontSize: "var(--code-size, 13px)",
  },
  "&.cm-focused": { outline: "none" },
  ".cm-scroller": { fontFamily: "var(--mono)", lineHeight: "1.5" },
  ".cm-content": { caretColor: "var(--ink)", padding: "6px 0" },
  ".cm-cursor, .cm-dropCursor": { borderLeftColor: "var(--ink)", borderLeftWidth: "2px" },
  ".cm-gutters": { backgroundColor: "var(--surface)", color: "var(--ink-soft)", border: "none" },
  ".cm-activeLine": { backgroundColor: "color-mix(in srgb, var(--hover) 45%, transparent)" },
  ".cm-activeLineGutter": { backgroundColor: "transparent", color: "var(--ink)" },
  "&.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground, .cm-selectionBackground": {
    backgroundColor: "var(--selection)",
  },
  ".cm-selectionMatch": { backgroundColor: "color-mix(in srgb, var(--selection) 60%, transparent)" },
  ".cm-matchingBracket, &.cm-focused .cm-matchingBracket": {
    backgroundColor: "var(--chosen)",
    outline: "1px solid var(--line-strong)",
  },
  ".cm-searchMatch": { backgroundColor: "var(--warn-ground)", outline: "1px solid var(--warn)" },
  ".cm-searchMatch-selected": { backgroundColor: "var(--selection)", outline: "2px solid var(--accent)" },
  // The widget floats over the text, so that the text does not move when it opens.
  ".cm-panels": { backgroundColor: "transparent", color: "var(--ink)", zIndex: "20" },
  ".cm-panels.cm-panels-top": {
    position: "absolute",
    left: "auto",
    right: "14px",
    top: "0",
    borderBottom: "none",
  },
  ".cm-tooltip": {
    backgroundColor: "var(--surface)",
    color: "var(--ink)",
    border: "1px solid var(--line)",
    borderRadius: "6px",
  },
  ".cm-tooltip-autocomplete > ul > li[aria-selected]": {
    backgroundColor: "var(--chosen)",
    color: "var(--ink)",
  },
  ".cm-foldPlaceholder": { backgroundColor: "var(--hover)", border: "none", color: "var(--ink-soft)" },
  ".cm-specialChar": { color: "var(--danger)" },
  "&.cm-merge-a .cm-changedLine, .cm-deletedChunk": { backgroundColor: "var(--removed-ground)" },
  "&.cm-merge-b .cm-changedLine, .cm-insertedLine": { backgroundColor: "var(--added-ground)" },
  "&.cm-merge-a .cm-changedText, & .cm-deletedChunk .cm-deletedText": { background: "var(--removed-text)" },
  "&.cm-merge-b .cm-changedText": { background: "var(--added-text)" },
  "&.cm-merge-a .cm-changedLineGutter, & .cm-deletedLineGutter": { background: "var(--removed)" },
  "&.cm-merge-b .cm-changedLineGutter": { background: "var(--added)" },
  "& .cm-collapsedLines": {
    padding: "3px 10px",
    background: "var(--sunken)",
    color: "var(--ink-soft)",
    font: "12px/18px var(--font)",
  },
  ".cm-collapsedLines:before, .cm-collapsedLines:after": { content: '""', margin: "0" },
});

const colours = HighlightStyle.define([
  {
    tag: [tags.keyword, tags.modifier, tags.operatorKeyword, tags.controlKeyword],
    color: "var(--code-keyword)",
  },
  { tag: [tags.string, tags.special(tags.string), tags.regexp, tags.character], color: "var(--code-string)" },
  {
    tag: [tags.number, tags.bool, tags.null, tags.atom, tags.constant(tags.name)],
    color: "var(--code-number)",
  },
  { tag: [tags.comment, tags.meta], color: "var(--code-comment)", fontStyle: "italic" },
  {
    tag: [tags.function(tags.variableName), tags.function(tags.propertyName), tags.macroName],
    color: "var(--code-function)",
  },
  { tag: [tags.typeName, tags.className, tags.namespace, tags.tagName], color: "var(--code-type)" },
  { tag: [tags.attributeName, tags.propertyName], color: "var(--code-function)" },
  { tag: tags.heading, fontWeight: "600", color: "var(--code-type)" },
  { tag: tags.emphasis, fontStyle: "italic" },
  { tag: tags.strong, fontWeight: "600" },
  { tag: [tags.link, tags.url], color: "var(--accent)", textDecoration: "underline" },
  { tag: tags.invalid, color: "var(--code-invalid)" },
]);

/** Carriage returns of Windows files stay in the text but are not displayed. */
const specialCharacters = highlightSpecialChars({
  render: (code, description, placeholder) => {
    const element = document.createElement("span");
    if (code === 13) return element;
    element.textContent = placeholder;
    element.title = description ?? "";
    element.className = "cm-specialChar";
    return element;
  },
});

/** The agent refuses larger updates. */
export const MAX_PASTE_CHARACTERS = 1024 * 1024;

const limitPasteSize = (refuse: () => void) =>
  EditorState.transactionFilter.of((transaction) => {
    if (!transaction.docChanged || !transaction.isUserEvent("input")) return transaction;
    let inserted = 0;
    transaction.changes.iterChanges((_a, _b, _c, _d, text) => (inserted += text.length));
    if (inserted <= MAX_PASTE_CHARACTERS) return transaction;
    refuse();
    return [];
  });

/** As in VS Code. Ctrl+H and Ctrl+G are bound by the page, because they work from everywhere. */
const findKeymap: readonly KeyBinding[] = [
  {
    key: "Mod-f",
    run: (view) => {
      openFind(view, false);
      return true;
    },
  },
  { key: "F3", run: findNext, shift: findPrevious, preventDefault: true },
  { key: "Escape", run: closeSearchPanel },
  { key: "Mod-Shift-l", run: selectSelectionMatches },
  { key: "Mod-d", run: selectNextOccurrence, preventDefault: true },
];

/** For read-only text. */
export function readOnlyExtensions(indent: string, label: string): Extension {
  return [
    EditorView.cspNonce.of(nonce()),
    // With another separator, CodeMirror would count \r\n as one character and the shared text as two.
    EditorState.lineSeparator.of("\n"),
    indentUnit.of(indent),
    // The text can be edited, so it can be focused: not every tool knows that without the index.
    EditorView.contentAttributes.of({ "aria-label": label, spellcheck: "false", tabindex: "0" }),
    lineNumbers(),
    specialCharacters,
    foldGutter(),
    drawSelection(),
    EditorState.allowMultipleSelections.of(true),
    bracketMatching(),
    rectangularSelection(),
    crosshairCursor(),
    highlightSelectionMatches(),
    findPanel(),
    theme,
    syntaxHighlighting(colours),
    syntaxHighlighting(defaultHighlightStyle, { fallback: true }),
    keymap.of([...findKeymap, ...defaultKeymap, ...foldKeymap]),
  ];
}

/** For a shared document. Editing extensions come first, so that their keys take precedence. */
export function editingExtensions(
  indent: string,
  readOnly: boolean,
  label: string,
  refuse: () => void,
): Extension {
  return [
    EditorState.readOnly.of(readOnly),
    dropCursor(),
    indentOnInput(),
    closeBrackets(),
    autocompletion(),
    highlightActiveLine(),
    highlightActiveLineGutter(),
    limitPasteSize(refuse),
    EditorView.clipboardInputFilter.of((pasted, { doc }) => withLineEndingsOf(doc.toString(), pasted)),
    keymap.of([...closeBracketsKeymap, ...yUndoManagerKeymap]),
    readOnlyExtensions(indent, label),
    keymap.of([...completionKeymap, indentWithTab]),
  ];
}

/** What users choose about the look of the text. */
export function preferredExtensions({
  wordWrap,
  tabWidth,
  showWhitespace,
}: Pick<Preferences, "wordWrap" | "tabWidth" | "showWhitespace">): Extension {
  return [
    EditorState.tabSize.of(tabWidth),
    wordWrap ? EditorView.lineWrapping : [],
    showWhitespace ? highlightWhitespace() : [],
  ];
}
