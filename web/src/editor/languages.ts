// The language of a file, by its name. Each language is loaded when it is first needed.
import { StreamLanguage, type LanguageSupport } from "@codemirror/language";
import type { Extension } from "@codemirror/state";

export interface Language {
  name: string;
  load: () => Promise<Extension>;
}

const support = (loaded: LanguageSupport): Extension => loaded;
const javascript = (options: { jsx?: boolean; typescript?: boolean }) => async () =>
  support((await import("@codemirror/lang-javascript")).javascript(options));

const languages = {
  js: { name: "JavaScript", load: javascript({ jsx: true }) },
  ts: { name: "TypeScript", load: javascript({ typescript: true }) },
  tsx: { name: "TypeScript JSX", load: javascript({ typescript: true, jsx: true }) },
  python: { name: "Python", load: async () => support((await import("@codemirror/lang-python")).python()) },
  rust: { name: "Rust", load: async () => support((await import("@codemirror/lang-rust")).rust()) },
  c: { name: "C", load: async () => support((await import("@codemirror/lang-cpp")).cpp()) },
  cpp: { name: "C++", load: async () => support((await import("@codemirror/lang-cpp")).cpp()) },
  java: { name: "Java", load: async () => support((await import("@codemirror/lang-java")).java()) },
  go: { name: "Go", load: async () => support((await import("@codemirror/lang-go")).go()) },
  html: { name: "HTML", load: async () => support((await import("@codemirror/lang-html")).html()) },
  css: { name: "CSS", load: async () => support((await import("@codemirror/lang-css")).css()) },
  json: { name: "JSON", load: async () => support((await import("@codemirror/lang-json")).json()) },
  markdown: {
    name: "Markdown",
    load: async () => support((await import("@codemirror/lang-markdown")).markdown()),
  },
  yaml: { name: "YAML", load: async () => support((await import("@codemirror/lang-yaml")).yaml()) },
  sql: { name: "SQL", load: async () => support((await import("@codemirror/lang-sql")).sql()) },
  shell: {
    name: "Shell",
    load: async () => StreamLanguage.define((await import("@codemirror/legacy-modes/mode/shell")).shell),
  },
  toml: {
    name: "TOML",
    load: async () => StreamLanguage.define((await import("@codemirror/legacy-modes/mode/toml")).toml),
  },
  docker: {
    name: "Dockerfile",
    load: async () =>
      StreamLanguage.define((await import("@codemirror/legacy-modes/mode/dockerfile")).dockerFile),
  },
} satisfies Record<string, Language>;

const byEnding: Record<string, Language> = {
  js: languages.js,
  mjs: languages.js,
  cjs: languages.js,
  jsx: languages.js,
  ts: languages.ts,
  mts: languages.ts,
  tsx: languages.tsx,
  py: languages.python,
  pyi: languages.python,
  rs: languages.rust,
  c: languages.c,
  h: languages.c,
  cc: languages.cpp,
  cpp: languages.cpp,
  cxx: languages.cpp,
  hpp: languages.cpp,
  java: languages.java,
  go: languages.go,
  html: languages.html,
  htm: languages.html,
  css: languages.css,
  json: languages.json,
  md: languages.markdown,
  yaml: languages.yaml,
  yml: languages.yaml,
  sql: languages.sql,
  sh: languages.shell,
  bash: languages.shell,
  toml: languages.toml,
};

const byName: Record<string, Language> = {
  ".bashrc": languages.shell,
  ".profile": languages.shell,
  ".bash_profile": languages.shell,
  dockerfile: languages.docker,
};

export function languageOf(name: string): Language | null {
  const low = name.toLowerCase();
  if (Object.hasOwn(byName, low)) return byName[low] ?? null;
  const ending = low.slice(low.lastIndexOf(".") + 1);
  return low.includes(".") && Object.hasOwn(byEnding, ending) ? (byEnding[ending] ?? null) : null;
}

/** One level of indentation in this text, as most of its lines have it. `usual` spaces if it has none. */
export function indentOf(name: string, text: string, usual = 4): string {
  if (/^(gnu)?makefile$|\.mk$/i.test(name)) return "\t";
  const counts = new Map<string, number>();
  for (const line of text.slice(0, 50_000).split("\n")) {
    const lead = /^(\t| {2,8})(?=\S)/.exec(line)?.[1];
    if (lead) counts.set(lead, (counts.get(lead) ?? 0) + 1);
  }
  const tabs = counts.get("\t") ?? 0;
  const spaces = [...counts].filter(([lead]) => lead !== "\t");
  if (tabs > spaces.reduce((sum, [, count]) => sum + count, 0)) return "\t";
  const most = Math.max(0, ...spaces.map(([, count]) => count));
  // The smallest width that is not rare. Deeper levels are multiples of it.
  const common = spaces.filter(([, count]) => count * 5 >= most).map(([lead]) => lead.length);
  if (common.length === 0) return " ".repeat(usual);
  const width = Math.min(...common);
  return " ".repeat(width === 3 || width > 4 ? 4 : width);
}
