// The settings of an organisation: the retention policy of snapshots, network policies, and the
// destruction of its key.
import { useEffect, useState } from "react";
import { retentionApi } from "../api/endpoints";
import type { Retention } from "../api/types";
import { canManage, useUser } from "../auth/session";
import { Failure } from "../ui/failure";
import { PageFrame } from "../app/page-frame";
import "./settings.css";
import { NetworkPanel } from "./network-panel";
import { RetentionForm } from "./retention-form";
import { TenantKeyPanel } from "./tenant-key-panel";

export default function SettingsPage() {
  const user = useUser();
  const [policy, setPolicy] = useState<Retention | null>(null);
  const [failure, setFailure] = useState<unknown>(null);
  const may = canManage(user);
  const read = () => {
    setFailure(null);
    retentionApi.get().then(setPolicy, setFailure);
  };
  useEffect(() => {
    if (may) retentionApi.get().then(setPolicy, setFailure);
  }, [may]);
  return (
    <PageFrame title="Settings">
      <div className="page-head">
        <div>
          <h1>Settings</h1>
          <p className="soft">For everyone in {user.tenant_name}.</p>
        </div>
      </div>
      {!may ? (
        <p className="panel empty">Only owners can view and change settings.</p>
      ) : failure !== null ? (
        <Failure error={failure} onRetry={read} />
      ) : policy ? (
        <>
          <RetentionForm saved={policy} onSaved={setPolicy} />
          <NetworkPanel />
          <TenantKeyPanel />
        </>
      ) : (
        <div className="panel settings-skeleton" aria-busy="true">
          <div className="skeleton" />
        </div>
      )}
    </PageFrame>
  );
}
