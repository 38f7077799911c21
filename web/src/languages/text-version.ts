// Names a text, as the agent does: its length in UTF-16 code units, and the FNV-1a hash of these units. Both
// sides compare their texts by it. Pure.

export function textVersion(text: string): string {
  let hash = 0x811c9dc5;
  for (let at = 0; at < text.length; at += 1) hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193);
  return `${text.length}-${(hash >>> 0).toString(16).padStart(8, "0")}`;
}
