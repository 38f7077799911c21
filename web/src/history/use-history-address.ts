// The selected time and file in the page's address, so that a link leads back to them.
import { useEffect } from "react";
import { ancestorsOf } from "../files/paths";

/** Reads the address: `?at=` is a time, `?file=` a path. */
export function readAddress(): { at: number | null; file: string | null; above: string[] } {
  const query = new URLSearchParams(window.location.search);
  const at = Date.parse(query.get("at") ?? "");
  const file = query.get("file");
  return { at: Number.isNaN(at) ? null : at, file, above: ancestorsOf(file ?? "") };
}

/** Keeps the selected time and file in the address, so that it can be bookmarked and shared. */
export function useAddress(at: string | null, file: string | null): void {
  useEffect(() => {
    const query = new URLSearchParams();
    if (at !== null) query.set("at", at);
    if (file !== null) query.set("file", file);
    const text = query.toString();
    window.history.replaceState(null, "", window.location.pathname + (text ? `?${text}` : ""));
  }, [at, file]);
}
