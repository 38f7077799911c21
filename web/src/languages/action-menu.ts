// The menu of code actions: fixes first, then refactorings, then what is about the whole file. Pure.
import type { CodeAction } from "../api/agent";
import { displayName } from "../files/paths";
import type { MenuEntry } from "../ui/menu";

const GROUPS = ["quickfix", "refactor", "source"] as const;

export function actionMenu(actions: readonly CodeAction[], run: (action: CodeAction) => void): MenuEntry[] {
  const groupOf = ({ kind }: CodeAction) => {
    const at = GROUPS.findIndex((group) => kind === group || kind.startsWith(`${group}.`));
    return at >= 0 ? at : GROUPS.length;
  };
  const groups = Array.from({ length: GROUPS.length + 1 }, (_, at) =>
    actions
      .filter((action) => groupOf(action) === at)
      .sort((a, b) => Number(b.is_preferred ?? false) - Number(a.is_preferred ?? false))
      .map((action) => ({
        label: displayName(action.title),
        ...(action.disabled ? { reason: displayName(action.disabled) } : {}),
        run: () => run(action),
      })),
  ).filter((group) => group.length > 0);
  return groups.flatMap((group, at): MenuEntry[] => (at > 0 ? ["line", ...group] : group));
}
