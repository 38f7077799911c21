// Names of workspaces and classes: which are valid, and which are free. Pure.

/** A name that is free: the template's, then with a number. */
export function freeName(template: string, taken: ReadonlySet<string>): string {
  if (!taken.has(template)) return template;
  for (let number = 2; ; number += 1) {
    const name = `${template}-${number}`;
    if (!taken.has(name)) return name;
  }
}

/** A name as the server takes it: 1 to 63 of a-z, 0-9 and hyphens, not at the ends. */
export function nameProblem(name: string): string {
  if (!name) return "Give it a name.";
  if (name.length > 63) return "At most 63 characters.";
  if (!/^[a-z0-9-]+$/.test(name)) return "Small letters, digits and hyphens only.";
  if (/^-|-$/.test(name)) return "It begins and ends with a letter or digit.";
  return "";
}
