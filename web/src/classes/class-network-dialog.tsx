// Where the workspaces of a class may connect.
import { useEffect, useState } from "react";
import { networkApi } from "../api/endpoints";
import type { Class, ClassNetwork } from "../api/types";
import { PolicyDialog } from "../network/policy-dialog";
import { policySummary } from "../network/policy-model";
import { Dialog } from "../ui/dialog";
import { Failure } from "../ui/failure";

interface Props {
  group: Class;
  onClose: () => void;
}

export function ClassNetworkDialog({ group, onClose }: Props) {
  const [network, setNetwork] = useState<ClassNetwork | null>(null);
  const [failure, setFailure] = useState<unknown>(null);
  useEffect(() => void networkApi.getClass(group.id).then(setNetwork, setFailure), [group.id]);
  const title = `Network of ${group.name}`;
  if (!network) {
    return (
      <Dialog title={title} onClose={onClose}>
        <div className="form" aria-busy={failure === null}>
          {failure !== null && <Failure error={failure} />}
        </div>
      </Dialog>
    );
  }
  return (
    <PolicyDialog
      title={title}
      about={
        <>
          <p>Holds for the workspaces of all students of the class, and for copies of them.</p>
          <Above network={network} />
        </>
      }
      saved={network.policy}
      save={async (policy) => {
        await networkApi.setClass(group.id, policy);
      }}
      onClose={onClose}
    />
  );
}

/** What the class cannot widen. */
function Above({ network: { tenant, template } }: { network: ClassNetwork }) {
  if (tenant.mode === "open" && template.mode === "open") return null;
  return (
    <p className="small">
      It cannot allow more than your organisation ({policySummary(tenant)}) and the template (
      {policySummary(template)}).
    </p>
  );
}
