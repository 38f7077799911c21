// Whether the key of the organisation is going to be destroyed. All parts of the page share one state.
import { useEffect, useSyncExternalStore } from "react";
import { tenantKeyApi } from "../api/endpoints";
import type { TenantKeyState } from "../api/types";

let current: TenantKeyState = {};
const listeners = new Set<() => void>();

export function setTenantKey(key: TenantKeyState): void {
  current = key;
  for (const listener of listeners) listener();
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** The state of the key, read again whenever a page opens. */
export function useTenantKey(): TenantKeyState {
  useEffect(() => {
    // Only a warning: a page works without it.
    tenantKeyApi.get().then(setTenantKey, () => undefined);
  }, []);
  return useSyncExternalStore(subscribe, () => current);
}
