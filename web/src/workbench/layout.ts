// The layout of a workspace's page, remembered in the browser.

export interface Layout {
  side: boolean;
  sideWidth: number;
  panel: boolean;
  panelHeight: number;
  expanded: readonly string[];
  open: readonly string[];
  active: string | null;
  terminal: string | null;
}

const fresh: Layout = {
  side: true,
  sideWidth: 240,
  panel: true,
  panelHeight: 260,
  expanded: [],
  open: [],
  active: null,
  terminal: null,
};
const key = (workspace: string) => `burrow.layout.${workspace}`;

export function readLayout(workspace: string): Layout {
  try {
    const stored = JSON.parse(localStorage.getItem(key(workspace)) ?? "{}") as Partial<Layout>;
    const strings = (value: unknown): string[] =>
      Array.isArray(value) ? value.filter((one): one is string => typeof one === "string").slice(-200) : [];
    return { ...fresh, ...stored, expanded: strings(stored.expanded), open: strings(stored.open) };
  } catch {
    return fresh;
  }
}

export function writeLayout(workspace: string, layout: Layout): void {
  try {
    localStorage.setItem(key(workspace), JSON.stringify(layout));
  } catch {
    // Storage is full or blocked: the next visit starts with the default layout.
  }
}
