// Which names of classes are valid and free. Pure.

/** The server's limit. */
const MAX_CHARACTERS = 100;

/** Why a name cannot be used; empty if it can. */
export function classNameProblem(name: string, taken: readonly string[]): string {
  const wanted = name.trim();
  if (!wanted) return "Enter a name.";
  if ([...wanted].length > MAX_CHARACTERS) return `At most ${MAX_CHARACTERS} characters.`;
  return taken.includes(wanted) ? "A class with this name already exists." : "";
}
