// The network policies of the organisation and of its templates.
import { useEffect, useState } from "react";
import { networkApi, workspacesApi } from "../api/endpoints";
import type { NetworkPolicy, Template } from "../api/types";
import { useUser } from "../auth/session";
import { PolicyDialog } from "../network/policy-dialog";
import { policySummary } from "../network/policy-model";
import { Failure } from "../ui/failure";
import "../network/network.css";

interface Policies {
  tenant: NetworkPolicy;
  templates: Template[];
}

export function NetworkPanel() {
  const user = useUser();
  const [policies, setPolicies] = useState<Policies | null>(null);
  const [failure, setFailure] = useState<unknown>(null);
  /** The template whose policy is being changed. Null: the organisation's. */
  const [changing, setChanging] = useState<string | null | undefined>(undefined);
  useEffect(() => void readPolicies().then(setPolicies, setFailure), []);
  const template = policies?.templates.find(({ name }) => name === changing);
  const close = () => setChanging(undefined);
  const saved = async () => setPolicies(await readPolicies());
  return (
    <section className="panel network-panel" aria-label="Network policies" aria-busy={policies === null}>
      <h2>Network policies</h2>
      <p className="soft">
        Where workspaces may connect. The host, other workspaces and private networks that its operator does
        not allow are always out of reach. Teachers can restrict their classes further, and users their
        workspaces.
      </p>
      {failure !== null && <Failure error={failure} />}
      {policies && (
        <ul className="network-policies">
          <Row
            name={`Everything in ${user.tenant_name}`}
            policy={policies.tenant}
            onChange={() => setChanging(null)}
          />
          {policies.templates.map(({ name, title, network }) => (
            <Row key={name} name={`Template ${title}`} policy={network} onChange={() => setChanging(name)} />
          ))}
        </ul>
      )}
      {policies && changing === null && (
        <PolicyDialog
          title={`Network policy of ${user.tenant_name}`}
          about="Holds for all workspaces. No template, teacher or user can widen it."
          saved={policies.tenant}
          save={async (policy) => {
            await networkApi.setTenant(policy);
            await saved();
          }}
          onClose={close}
        />
      )}
      {template && (
        <PolicyDialog
          title={`Network policy of ${template.title}`}
          about="Holds for the workspaces of this template to which nothing else was granted."
          saved={template.network}
          save={async (policy) => {
            await networkApi.setTemplate(template.name, policy);
            await saved();
          }}
          onClose={close}
        />
      )}
    </section>
  );
}

async function readPolicies(): Promise<Policies> {
  const [tenant, templates] = await Promise.all([networkApi.getTenant(), workspacesApi.listTemplates()]);
  return { tenant, templates };
}

interface RowProps {
  name: string;
  policy: NetworkPolicy;
  onChange: () => void;
}

function Row({ name, policy, onChange }: RowProps) {
  return (
    <li>
      <span>
        {name}
        <br />
        <span className="soft small">{policySummary(policy)}</span>
      </span>
      <button type="button" className="button" aria-label={`Change the policy of ${name}`} onClick={onChange}>
        Change…
      </button>
    </li>
  );
}
