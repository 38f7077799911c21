// What tokens may do, in the words of the pages.
import type { TokenScope } from "../api/types";

export const TOKEN_SCOPES: [TokenScope, string, string][] = [
  ["read", "Read", "See everything that you can see, and change nothing"],
  ["workspaces", "Workspaces", "Use workspaces, snapshots, transfers and classes as you can"],
  ["admin", "Admin", "Everything that you can do, including users and the organisation"],
];

export const scopeLabel = (scope: TokenScope): string =>
  TOKEN_SCOPES.find(([value]) => value === scope)?.[1] ?? scope;

export const scopeDescription = (scope: TokenScope): string =>
  TOKEN_SCOPES.find(([value]) => value === scope)?.[2] ?? scope;
