// The find widget of a terminal, over all lines that it keeps. xterm.js searches; this draws.
import type { ISearchOptions, ISearchResultChangeEvent, SearchAddon } from "@xterm/addon-search";
import { useEffect, useEffectEvent, useRef, useState, type KeyboardEvent } from "react";
import { Icon, type IconName } from "../ui/icons";
import { useIsDark } from "../ui/theme";
import { findText, isValidExpression } from "./find-text";
import { findColors } from "./terminal-themes";

interface Props {
  search: SearchAddon;
  /** Grows with each request to find: the field is focused and its text selected. */
  request: number;
  /** What to find at first, such as the selected text. */
  initial: string;
  onClose: () => void;
}

/** What was searched for last, for the next time and for other terminals. */
let remembered = { term: "", caseSensitive: false, wholeWord: false, regex: false };

type Switch = "caseSensitive" | "wholeWord" | "regex";
const SWITCHES: readonly (readonly [name: Switch, label: string, icon: IconName, code: string])[] = [
  ["caseSensitive", "Match case (Alt+C)", "matchCase", "KeyC"],
  ["wholeWord", "Match whole word (Alt+W)", "wholeWord", "KeyW"],
  ["regex", "Use regular expression (Alt+R)", "regex", "KeyR"],
];

export function TerminalFind({ search, request, initial, onClose }: Props) {
  const [query, setQuery] = useState(() => ({ ...remembered, term: initial || remembered.term }));
  const [results, setResults] = useState<ISearchResultChangeEvent | null>(null);
  const field = useRef<HTMLInputElement>(null);
  const isDark = useIsDark();

  const find = (isNext: boolean, incremental: boolean) => {
    if (query.regex && !isValidExpression(query.term)) return search.clearDecorations();
    const { term, caseSensitive, wholeWord, regex } = query;
    const options: ISearchOptions = {
      caseSensitive,
      wholeWord,
      regex,
      incremental,
      decorations: findColors(isDark),
    };
    if (isNext) search.findNext(term, options);
    else search.findPrevious(term, options);
  };
  // As in VS Code, the search begins with the newest line.
  const findFirst = useEffectEvent(() => find(false, true));
  useEffect(() => {
    remembered = query;
    // Matches keep the colours that they were drawn with.
    search.clearDecorations();
    findFirst();
  }, [query, search, isDark]);
  useEffect(() => {
    field.current?.focus();
    field.current?.select();
  }, [request]);
  useEffect(() => {
    const listening = search.onDidChangeResults(setResults);
    return () => {
      listening.dispose();
      search.clearDecorations();
    };
  }, [search]);

  const toggle = (name: Switch) => setQuery({ ...query, [name]: !query[name] });
  const onKey = (event: KeyboardEvent) => {
    const alt = event.altKey && !event.ctrlKey && !event.metaKey;
    const letter = SWITCHES.find(([, , , code]) => alt && event.code === code);
    if (event.key === "Escape") onClose();
    else if (event.key === "Enter" && event.target === field.current) find(event.shiftKey, false);
    else if (event.key === "F3") find(!event.shiftKey, false);
    else if (letter) toggle(letter[0]);
    else return;
    event.preventDefault();
    event.stopPropagation();
  };
  const button = (label: string, icon: IconName, run: () => void) => (
    <button
      type="button"
      className="find-button"
      title={label}
      aria-label={label.replace(/ \(.*\)$/, "")}
      onClick={run}
    >
      <Icon name={icon} />
    </button>
  );
  const isWrong = query.regex && !isValidExpression(query.term);
  const total = results?.resultCount ?? 0;
  return (
    <div className="find-panel terminal-find" role="search" aria-label="Find in terminal" onKeyDown={onKey}>
      <div className="find-rows">
        <div className="find-row">
          <div className="find-input">
            <input
              ref={field}
              className="find-field"
              aria-label="Find"
              placeholder="Find"
              autoComplete="off"
              spellCheck={false}
              value={query.term}
              onChange={(event) => setQuery({ ...query, term: event.target.value })}
            />
            {SWITCHES.map(([name, label, icon]) => (
              <button
                key={name}
                type="button"
                className="find-button"
                title={label}
                aria-label={label.replace(/ \(.*\)$/, "")}
                aria-pressed={query[name]}
                onClick={() => toggle(name)}
              >
                <Icon name={icon} />
              </button>
            ))}
          </div>
          <span
            className={query.term !== "" && total === 0 ? "find-count wrong" : "find-count"}
            role="status"
          >
            {isWrong ? "Invalid expression" : findText(query.term, results)}
          </span>
          {button("Previous match (Enter)", "up", () => find(false, false))}
          {button("Next match (Shift+Enter)", "down", () => find(true, false))}
          {button("Close (Escape)", "close", onClose)}
        </div>
      </div>
    </div>
  );
}
