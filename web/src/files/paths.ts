// Paths in the home. They have no leading slash; "" is the home itself. Pure.

export const nameOf = (path: string): string => path.slice(path.lastIndexOf("/") + 1);
export const parentOf = (path: string): string => path.slice(0, Math.max(0, path.lastIndexOf("/")));
export const childOf = (directory: string, name: string): string =>
  directory ? `${directory}/${name}` : name;
/** `a/b/c` → `a`, `a/b` */
export function ancestorsOf(path: string): string[] {
  const above = parentOf(path);
  return above === "" ? [] : [...ancestorsOf(above), above];
}
export const isWithin = (path: string, directory: string): boolean =>
  directory === "" || path === directory || path.startsWith(`${directory}/`);

/** Where `path` is after `from` was renamed to `to`. */
export function pathAfterRename(path: string, from: string, to: string): string {
  return isWithin(path, from) ? to + path.slice(from.length) : path;
}

const INVISIBLE = /[\p{Cc}\p{Cf}\u2028\u2029]/gu;

/**
 * A file name as it is displayed: invisible and direction-changing characters are escaped, since
 * names come from the guest.
 */
export function displayName(name: string): string {
  return name.replace(INVISIBLE, (character) => {
    if (character === "\n") return "␤";
    return `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`;
  });
}

/** Why a typed file name is invalid; empty if it is valid. Slashes create directories. */
export function fileNameProblem(name: string): string {
  if (!name.trim()) return "Enter a name.";
  const parts = name.split("/");
  if (parts.some((part) => part === "" || part === "." || part === ".."))
    return "The path must stay inside the home.";
  if (name.includes("\0") || parts.some((part) => new TextEncoder().encode(part).length > 255)) {
    return "A name can have at most 255 bytes.";
  }
  return "";
}
