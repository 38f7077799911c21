// Personal access tokens, for the CLI and for programs.
import { useEffect, useId, useState } from "react";
import { tokensApi } from "../api/endpoints";
import type { TokenInfo, TokenScope, TokenSecret } from "../api/types";
import { ConfirmDialog, Dialog } from "../ui/dialog";
import { Icon } from "../ui/icons";
import { Copyable } from "../ui/copyable";
import { Field } from "../ui/form-fields";
import { RelativeTime } from "../ui/time";
import { FormDialog } from "../ui/form-dialog";
import { PageFrame } from "../app/page-frame";
import { FormError } from "../ui/form-error";
import { useSubmission } from "../ui/use-submission";
import { TOKEN_SCOPES, scopeDescription, scopeLabel } from "./token-scopes";

const DAYS_DEFAULT = 90;
const MAX_DAYS = 365;

export default function TokensPage() {
  const [list, setList] = useState<TokenInfo[] | null>(null);
  const [failure, setFailure] = useState<unknown>(null);
  const [making, setMaking] = useState(false);
  const [made, setMade] = useState<TokenSecret | null>(null);
  const [revoking, setRevoking] = useState<TokenInfo | null>(null);
  useEffect(() => {
    tokensApi.list().then(setList, setFailure);
  }, []);
  return (
    <PageFrame title="Tokens">
      <div className="page-head">
        <div>
          <h1>Tokens</h1>
          <p className="soft">
            For the CLI on hosts without a browser, and for programs. A token may do what its scope says, and
            never more than you.
          </p>
        </div>
        <div className="actions">
          <button className="button primary" onClick={() => setMaking(true)}>
            <Icon name="plus" /> New token
          </button>
        </div>
      </div>
      <FormError error={failure} />
      {list && list.length === 0 && (
        <div className="panel empty">
          <p>
            No tokens yet. On your own computer you do not need one: this command signs in through the
            browser.
          </p>
          <Copyable text={`burrow login ${window.location.origin}`} what="command" />
        </div>
      )}
      {list && list.length > 0 && (
        <div className="panel">
          <table className="table">
            <thead>
              <tr>
                <th scope="col">Name</th>
                <th scope="col">Scope</th>
                <th scope="col" className="wide-only">
                  Created
                </th>
                <th scope="col">Last used</th>
                <th scope="col">Expires</th>
                <th>
                  <span className="hidden-text">Actions</span>
                </th>
              </tr>
            </thead>
            <tbody>
              {list.map((token) => (
                <tr key={token.id}>
                  <td>{token.name}</td>
                  <td title={scopeDescription(token.scope)}>{scopeLabel(token.scope)}</td>
                  <td className="wide-only">
                    <RelativeTime at={token.created_at} />
                  </td>
                  <td>{token.last_used_at ? <RelativeTime at={token.last_used_at} /> : "Never"}</td>
                  <td>
                    <RelativeTime at={token.expires_at} />
                  </td>
                  <td className="end">
                    <button
                      className="button"
                      onClick={() => setRevoking(token)}
                      aria-label={`Revoke ${token.name}`}
                    >
                      Revoke
                    </button>
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      {making && (
        <NewTokenDialog
          onClose={() => setMaking(false)}
          onMade={(secret) => {
            setMaking(false);
            setMade(secret);
            setList((list) => [secret.info, ...(list ?? [])]);
          }}
        />
      )}
      {made && (
        <Dialog title={`Token “${made.info.name}”`} onClose={() => setMade(null)}>
          <div className="form">
            <p>Copy the token now. It is not shown again.</p>
            <Copyable text={made.token} what="token" />
            <p className="soft small">
              On the other host, run <code>burrow login --token - {window.location.origin}</code> and paste
              it.
            </p>
            <div className="form-actions">
              <button className="button primary" onClick={() => setMade(null)}>
                Done
              </button>
            </div>
          </div>
        </Dialog>
      )}
      {revoking && (
        <ConfirmDialog
          title={`Revoke “${revoking.name}”?`}
          text="Programs that use this token are signed out immediately. Links that it created stop working."
          action="Revoke token"
          onClose={() => setRevoking(null)}
          onConfirm={async () => {
            await tokensApi.revoke(revoking.id);
            setList((list) => list && list.filter((token) => token.id !== revoking.id));
          }}
        />
      )}
    </PageFrame>
  );
}

function NewTokenDialog({ onClose, onMade }: { onClose: () => void; onMade: (secret: TokenSecret) => void }) {
  const [name, setName] = useState("");
  const [days, setDays] = useState(String(DAYS_DEFAULT));
  const [scope, setScope] = useState<TokenScope>("workspaces");
  const field = useId();
  const form = useSubmission(async () => onMade(await tokensApi.create(name.trim(), Number(days), scope)));
  return (
    <FormDialog title="New token" form={form} action="Create token" onClose={onClose}>
      <Field
        label="Name"
        required
        maxLength={100}
        placeholder="build server"
        error={form.field("name")}
        value={name}
        onChange={(event) => setName(event.target.value)}
      />
      <div className="field">
        <label htmlFor={field}>Scope</label>
        <select
          id={field}
          className="input"
          aria-describedby={`${field}-about`}
          value={scope}
          onChange={(event) => setScope(event.target.value as TokenScope)}
        >
          {TOKEN_SCOPES.map(([value, label]) => (
            <option key={value} value={value}>
              {label}
            </option>
          ))}
        </select>
        <p id={`${field}-about`} className="hint">
          {scopeDescription(scope)}.
        </p>
      </div>
      <Field
        label="Expires after (days)"
        type="number"
        required
        min={1}
        max={MAX_DAYS}
        error={form.field("days")}
        value={days}
        onChange={(event) => setDays(event.target.value)}
      />
    </FormDialog>
  );
}
