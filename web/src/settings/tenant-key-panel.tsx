// Destroys the key of the organisation after a grace period, and undoes that.
import { useState } from "react";
import { tenantKeyApi } from "../api/endpoints";
import { useUser } from "../auth/session";
import { ConfirmDialog } from "../ui/dialog";
import { formatFullInstant } from "../ui/format";
import { toast, toastError } from "../ui/toasts";
import { setTenantKey, useTenantKey } from "./tenant-key";

export function TenantKeyPanel() {
  const user = useUser();
  const { destroy_at, destroyed_at } = useTenantKey();
  const [isAsking, setIsAsking] = useState(false);
  const keep = () => {
    tenantKeyApi.keep().then(
      (key) => {
        setTenantKey(key);
        toast("The homes are kept");
      },
      (error: unknown) => toastError(error, "keep the homes"),
    );
  };
  if (destroyed_at) return null;
  return (
    <section className="panel form tenant-key">
      <h2>Destroy all homes</h2>
      {destroy_at ? (
        <>
          <p>
            The key of {user.tenant_name} is going to be destroyed on{" "}
            {formatFullInstant(Date.parse(destroy_at))}. Until then workspaces continue as before.
          </p>
          <div className="form-actions">
            <button className="button primary" onClick={keep}>
              Undo
            </button>
          </div>
        </>
      ) : (
        <>
          <p>
            Destroys the key of {user.tenant_name} after seven days. No home, snapshot or backup can be read
            from then on.
          </p>
          <div className="form-actions">
            <button className="button danger" onClick={() => setIsAsking(true)}>
              Destroy all homes…
            </button>
          </div>
        </>
      )}
      {isAsking && (
        <ConfirmDialog
          title="Destroy all homes?"
          text={
            `In seven days, every home, snapshot and backup of ${user.tenant_name} becomes unreadable ` +
            "for good. Until then you can undo this here, and every user sees the date."
          }
          action="Destroy in seven days"
          confirmationText={user.tenant_name}
          onClose={() => setIsAsking(false)}
          onConfirm={async () => setTenantKey(await tenantKeyApi.destroy(user.tenant))}
        />
      )}
    </section>
  );
}
