// Where the user is among the matches of a search in a terminal. Pure.

/** Matches are highlighted and counted up to this number. */
export const MAX_HIGHLIGHTED = 1000;

export interface FoundMatches {
  /** Index of the selected match; below 0 if it is not known. */
  resultIndex: number;
  resultCount: number;
}

export function findText(term: string, found: FoundMatches | null): string {
  if (term === "") return "";
  if (!found || found.resultCount === 0) return "No results";
  const all = found.resultCount >= MAX_HIGHLIGHTED ? `${MAX_HIGHLIGHTED}+` : `${found.resultCount}`;
  return found.resultIndex < 0 ? `? of ${all}` : `${found.resultIndex + 1} of ${all}`;
}

export function isValidExpression(text: string): boolean {
  try {
    new RegExp(text);
    return true;
  } catch {
    return false;
  }
}
