// Personal access tokens, for the CLI and for programs.
import { useEffect, useState } from "react";
import { tokens } from "../api/endpoints";
import type { TokenInfo, TokenSecret } from "../api/types";
import { Confirm, Dialog } from "../ui/dialog";
import { Icon } from "../ui/icons";
import { Copyable } from "../ui/copyable";
import { Field } from "../ui/form-fields";
import { Moment } from "../ui/time";
import { FormDialog } from "../ui/form-dialog";
import { Frame } from "../app/page-frame";
import { FormError } from "../ui/form-error";
import { useSubmission } from "../ui/use-submission";

const DAYS_DEFAULT = 90;
const MAX_DAYS = 365;

export default function TokensPage() {
  const [list, setList] = useState<TokenInfo[] | null>(null);
  const [failure, setFailure] = useState<unknown>(null);
  const [making, setMaking] = useState(false);
  const [made, setMade] = useState<TokenSecret | null>(null);
  const [revoking, setRevoking] = useState<TokenInfo | null>(null);
  useEffect(() => {
    tokens.list().then(setList, setFailure);
  }, []);
  return (
    <Frame title="Tokens">
      <div className="page-head">
        <div>
          <h1>Tokens</h1>
          <p className="soft">
            For the CLI on machines without a browser, and for programs. A token can do what you can.
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
          <p>No tokens. On your own computer you do not need one: this signs in through the browser.</p>
          <Copyable text={`burrow login ${window.location.origin}`} what="command" />
        </div>
      )}
      {list && list.length > 0 && (
        <div className="panel">
          <table className="table">
            <thead>
              <tr>
                <th scope="col">Name</th>
                <th scope="col" className="wide-only">
                  Made
                </th>
                <th scope="col">Last used</th>
                <th scope="col">Ends</th>
                <th>
                  <span className="hidden-text">Actions</span>
                </th>
              </tr>
            </thead>
            <tbody>
              {list.map((token) => (
                <tr key={token.id}>
                  <td>{token.name}</td>
                  <td className="wide-only">
                    <Moment at={token.created_at} />
                  </td>
                  <td>{token.last_used_at ? <Moment at={token.last_used_at} /> : "never"}</td>
                  <td>
                    <Moment at={token.expires_at} />
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
            <p>Copy it now: it is not shown again.</p>
            <Copyable text={made.token} what="token" />
            <p className="soft small">
              On the other machine: <code>burrow login --token - {window.location.origin}</code>, then paste
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
        <Confirm
          title={`Revoke “${revoking.name}”?`}
          text="Programs that use it are signed out at once."
          action="Revoke"
          onClose={() => setRevoking(null)}
          onConfirm={async () => {
            await tokens.revoke(revoking.id);
            setList((list) => list && list.filter((token) => token.id !== revoking.id));
          }}
        />
      )}
    </Frame>
  );
}

function NewTokenDialog({ onClose, onMade }: { onClose: () => void; onMade: (secret: TokenSecret) => void }) {
  const [name, setName] = useState("");
  const [days, setDays] = useState(String(DAYS_DEFAULT));
  const form = useSubmission(async () => onMade(await tokens.create(name.trim(), Number(days))));
  return (
    <FormDialog title="New token" form={form} action="Create" onClose={onClose}>
      <Field
        label="Name"
        required
        maxLength={100}
        placeholder="build server"
        wrong={form.field("name")}
        value={name}
        onChange={(event) => setName(event.target.value)}
      />
      <Field
        label="Ends after (days)"
        type="number"
        required
        min={1}
        max={MAX_DAYS}
        wrong={form.field("days")}
        value={days}
        onChange={(event) => setDays(event.target.value)}
      />
    </FormDialog>
  );
}
