// Warns every user of an organisation whose homes are going to be destroyed.
import { useUser } from "../auth/session";
import { formatFullInstant } from "../ui/format";
import { useTenantKey } from "./tenant-key";

export function TenantKeyNotice() {
  const { tenant_name } = useUser();
  const { destroy_at, destroyed_at } = useTenantKey();
  if (destroyed_at) {
    return (
      <p className="notice bad" role="status">
        The key of {tenant_name} was destroyed. Its homes can no longer be read.
      </p>
    );
  }
  if (!destroy_at) return null;
  return (
    <p className="notice bad" role="status">
      All homes and snapshots of {tenant_name} are going to be destroyed on{" "}
      <time dateTime={destroy_at}>{formatFullInstant(Date.parse(destroy_at))}</time>. Copy what you need
      before. Owners can undo this in Settings.
    </p>
  );
}
