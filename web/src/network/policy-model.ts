// The inputs of a network policy, and policies as sentences. Pure.
import type { NetworkMode, NetworkPolicy, NetworkPreset } from "../api/types";

export interface PolicyInput {
  mode: NetworkMode;
  /** One name per line. */
  names: string;
  presets: NetworkPreset[];
}

export const modes = [
  ["open", "All public addresses"],
  ["allowlist", "Only some names"],
  ["none", "Nothing"],
] as const satisfies readonly (readonly [NetworkMode, string])[];

export const presets = [
  ["registries", "Package registries", "PyPI, npm, crates.io, Debian, Go, Maven"],
  ["git", "Git hosts", "GitHub, GitLab, Bitbucket"],
  ["editors", "Editors", "VS Code Server and JetBrains Gateway"],
] as const satisfies readonly (readonly [NetworkPreset, string, string])[];

export function inputOf(policy: NetworkPolicy): PolicyInput {
  return { mode: policy.mode, names: (policy.names ?? []).join("\n"), presets: policy.presets ?? [] };
}

/** The policy to send. Names and presets belong to an allow-list only. */
export function policyOf({ mode, names, presets }: PolicyInput): NetworkPolicy {
  if (mode !== "allowlist") return { mode, names: [], presets: [] };
  return { mode, names: names.split(/[\s,]+/).filter((name) => name !== ""), presets };
}

/** Names that a summary shows. */
const MAX_NAMES_SHOWN = 4;

/** "Only git, example.com and 3 more". */
export function policySummary(policy: NetworkPolicy): string {
  if (policy.mode === "open") return "All public addresses";
  const all = policy.mode === "none" ? [] : [...(policy.presets ?? []), ...(policy.names ?? [])];
  if (all.length === 0) return "Nothing";
  const shown = all.slice(0, MAX_NAMES_SHOWN).join(", ");
  const more = all.length - MAX_NAMES_SHOWN;
  return more > 0 ? `Only ${shown} and ${more} more` : `Only ${shown}`;
}
