// Names of workspaces and classes: which are valid, and which are free. Pure.

/** A free name: the template's, or the template's with a number. */
export function freeName(template: string, taken: ReadonlySet<string>): string {
  if (!taken.has(template)) return template;
  for (let number = 2; ; number += 1) {
    const name = `${template}-${number}`;
    if (!taken.has(name)) return name;
  }
}

/**
 * Why a name is invalid; empty if it is valid. The server's rule: 1 to 63 of a-z, 0-9 and hyphens,
 * no hyphen at either end.
 */
export function nameProblem(name: string): string {
  if (!name) return "Enter a name.";
  if (name.length > 63) return "At most 63 characters.";
  if (!/^[a-z0-9-]+$/.test(name)) return "Use lowercase letters, digits and hyphens only.";
  if (/^-|-$/.test(name)) return "The name must start and end with a letter or digit.";
  return "";
}
