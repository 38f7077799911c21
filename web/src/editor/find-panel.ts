// The find widget of the editor: where the user is among the matches, switches for case, words and regular
// expressions, and replacing. CodeMirror searches; this draws.
import {
  closeSearchPanel,
  findNext,
  findPrevious,
  getSearchQuery,
  openSearchPanel,
  replaceAll,
  replaceNext,
  search,
  SearchQuery,
  searchPanelOpen,
  setSearchQuery,
} from "@codemirror/search";
import { StateEffect, StateField, type EditorState, type Extension } from "@codemirror/state";
import { type EditorView, type Panel, type ViewUpdate } from "@codemirror/view";
import { iconElement, type IconName } from "../ui/icons";

/** Matches are counted up to this number: more tell nobody anything. */
const MAX_COUNTED = 1000;

const showReplace = StateEffect.define<boolean>();

/** Whether the widget has the row for replacing. */
const replaceShown = StateField.define<boolean>({
  create: () => false,
  update: (shown, transaction) =>
    transaction.effects.reduce((shown, effect) => (effect.is(showReplace) ? effect.value : shown), shown),
});

/** Opens the widget, with the selected text as what to find. */
export function openFind(view: EditorView, isReplacing: boolean): void {
  const isOpen = searchPanelOpen(view.state);
  if (isReplacing || !isOpen) view.dispatch({ effects: showReplace.of(isReplacing && !view.state.readOnly) });
  openSearchPanel(view);
}

export interface MatchCount {
  /** Position of the selected match among all, from 1. 0: no match is selected. */
  at: number;
  total: number;
  isMore: boolean;
}

export function countMatches(state: EditorState, query: SearchQuery): MatchCount {
  const count: MatchCount = { at: 0, total: 0, isMore: false };
  if (!query.valid) return count;
  const { from, to } = state.selection.main;
  const cursor = query.getCursor(state);
  for (let match = cursor.next(); !match.done; match = cursor.next()) {
    if (count.total === MAX_COUNTED) return { ...count, isMore: true };
    count.total += 1;
    if (match.value.from === from && match.value.to === to) count.at = count.total;
  }
  return count;
}

export function countText(query: SearchQuery, { at, total, isMore }: MatchCount): string {
  if (query.search === "") return "";
  if (!query.valid) return "Invalid expression";
  if (total === 0) return "No results";
  const all = isMore ? `${total}+` : `${total}`;
  return at === 0 ? `? of ${all}` : `${at} of ${all}`;
}

export function findPanel(): Extension {
  return [replaceShown, search({ top: true, createPanel: (view) => new FindPanel(view) })];
}

class FindPanel implements Panel {
  readonly dom = document.createElement("div");
  readonly top = true;
  private readonly find: HTMLInputElement;
  private readonly replace: HTMLInputElement;
  private readonly count = document.createElement("span");
  private readonly replaceRow = document.createElement("div");
  private readonly expand: HTMLButtonElement;
  private readonly switches: Record<"caseSensitive" | "wholeWord" | "regexp", HTMLButtonElement>;

  constructor(private readonly view: EditorView) {
    this.find = field("Find", "find", () => this.commit());
    // CodeMirror focuses it when the widget is opened again.
    this.find.setAttribute("main-field", "true");
    this.replace = field("Replace", "replace", () => this.commit());
    const toggle = (name: keyof FindPanel["switches"], label: string, icon: IconName) => {
      const element = button(label, iconElement(icon), () => {
        element.setAttribute("aria-pressed", String(element.getAttribute("aria-pressed") !== "true"));
        this.commit();
      });
      element.setAttribute("aria-pressed", String(getSearchQuery(view.state)[name]));
      return element;
    };
    this.switches = {
      caseSensitive: toggle("caseSensitive", "Match case (Alt+C)", "matchCase"),
      wholeWord: toggle("wholeWord", "Match whole word (Alt+W)", "wholeWord"),
      regexp: toggle("regexp", "Use regular expression (Alt+R)", "regex"),
    };
    this.count.className = "find-count";
    this.count.setAttribute("role", "status");
    this.expand = button("Toggle replace", iconElement("chevron", 14), () => {
      view.dispatch({ effects: showReplace.of(!view.state.field(replaceShown)) });
    });
    this.expand.classList.add("find-expand");

    const findRow = row(
      group(this.find, this.switches.caseSensitive, this.switches.wholeWord, this.switches.regexp),
      this.count,
      button("Previous match (Shift+Enter)", iconElement("up"), () => findPrevious(view)),
      button("Next match (Enter)", iconElement("down"), () => findNext(view)),
      button("Close (Escape)", iconElement("close"), () => this.close()),
    );
    this.replaceRow = row(
      group(this.replace),
      button("Replace (Enter)", iconElement("replace"), () => replaceNext(view)),
      button("Replace all (Ctrl+Alt+Enter)", iconElement("replaceAll"), () => replaceAll(view)),
    );
    const rows = document.createElement("div");
    rows.className = "find-rows";
    rows.append(findRow, this.replaceRow);
    this.dom.className = "find-panel";
    this.dom.setAttribute("role", "search");
    this.dom.append(this.expand, rows);
    this.dom.addEventListener("keydown", (event) => this.onKey(event));
    this.show(getSearchQuery(view.state));
  }

  mount(): void {
    this.find.select();
  }

  update(update: ViewUpdate): void {
    const query = getSearchQuery(update.state);
    const changed = !query.eq(getSearchQuery(update.startState));
    const toggled = update.state.field(replaceShown) !== update.startState.field(replaceShown);
    if (changed || toggled) this.show(query);
    else if (update.docChanged || update.selectionSet) this.showCount(query);
  }

  private show(query: SearchQuery): void {
    if (this.find.value !== query.search) this.find.value = query.search;
    if (this.replace.value !== query.replace) this.replace.value = query.replace;
    for (const name of ["caseSensitive", "wholeWord", "regexp"] as const)
      this.switches[name].setAttribute("aria-pressed", String(query[name]));
    const isReplacing = this.view.state.field(replaceShown);
    this.replaceRow.hidden = !isReplacing;
    this.expand.hidden = this.view.state.readOnly;
    this.expand.setAttribute("aria-expanded", String(isReplacing));
    this.showCount(query);
  }

  private showCount(query: SearchQuery): void {
    const found = countMatches(this.view.state, query);
    this.count.textContent = countText(query, found);
    this.count.classList.toggle("wrong", query.search !== "" && found.total === 0);
  }

  private commit(): void {
    const isOn = (element: HTMLElement) => element.getAttribute("aria-pressed") === "true";
    const query = new SearchQuery({
      search: this.find.value,
      replace: this.replace.value,
      caseSensitive: isOn(this.switches.caseSensitive),
      wholeWord: isOn(this.switches.wholeWord),
      regexp: isOn(this.switches.regexp),
      // \n and \t are themselves unless the user asks for a regular expression.
      literal: !isOn(this.switches.regexp),
    });
    if (!query.eq(getSearchQuery(this.view.state))) this.view.dispatch({ effects: setSearchQuery.of(query) });
  }

  private onKey(event: KeyboardEvent): void {
    const alt = event.altKey && !event.ctrlKey && !event.metaKey;
    const letter = { KeyC: "caseSensitive", KeyW: "wholeWord", KeyR: "regexp" } as const;
    const name = letter[event.code as keyof typeof letter];
    if (event.key === "Escape") this.close();
    else if (event.key === "Enter" && event.target === this.find)
      (event.shiftKey ? findPrevious : findNext)(this.view);
    else if (event.key === "Enter" && event.target === this.replace)
      ((event.ctrlKey || event.metaKey) && event.altKey ? replaceAll : replaceNext)(this.view);
    else if (event.key === "F3") (event.shiftKey ? findPrevious : findNext)(this.view);
    else if (alt && name) this.switches[name].click();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  private close(): void {
    closeSearchPanel(this.view);
    this.view.focus();
  }
}

function field(label: string, name: string, onInput: () => void): HTMLInputElement {
  const input = document.createElement("input");
  input.className = "find-field";
  input.name = name;
  input.placeholder = label;
  input.setAttribute("aria-label", label);
  input.autocomplete = "off";
  input.spellcheck = false;
  input.addEventListener("input", onInput);
  return input;
}

function button(label: string, icon: HTMLElement, onClick: () => void): HTMLButtonElement {
  const element = document.createElement("button");
  element.type = "button";
  element.className = "find-button";
  element.title = label;
  element.setAttribute("aria-label", label.replace(/ \(.*\)$/, ""));
  element.append(icon);
  element.addEventListener("click", onClick);
  return element;
}

function row(...children: HTMLElement[]): HTMLDivElement {
  const element = document.createElement("div");
  element.className = "find-row";
  element.append(...children);
  return element;
}

function group(...children: HTMLElement[]): HTMLDivElement {
  const element = document.createElement("div");
  element.className = "find-input";
  element.append(...children);
  return element;
}
