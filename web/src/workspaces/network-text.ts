// Network policies as sentences. Pure.
import type { EffectivePolicy, RefusedName } from "../api/types";

/** What a policy allows. */
export function policyText(policy: EffectivePolicy): string {
  if (policy.mode === "open") return "This workspace may connect to all public addresses.";
  if (policy.mode === "none" || policy.names.length === 0) return "This workspace may not connect anywhere.";
  return "This workspace may connect only to:";
}

/** Why a name was refused. */
export function refusalText({ reason }: RefusedName): string {
  if (reason === "private_address") return "has private addresses";
  if (reason === "wrong_address") return "the address belongs to another name";
  if (reason === "missing_name") return "the connection named no host";
  return "not allowed";
}
