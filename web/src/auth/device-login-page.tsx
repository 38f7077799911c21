// Approves the sign-in of a program (RFC 8628). The user types or confirms the code that the program shows.
import { useState } from "react";
import { authApi } from "../api/endpoints";
import type { DeviceInfo } from "../api/types";
import { Field } from "../ui/form-fields";
import { RelativeTime } from "../ui/time";
import { consumeFragment } from "../ui/router";
import { FormError } from "../ui/form-error";
import { CardPage } from "../ui/card-page";
import { useSubmission } from "../ui/use-submission";
import { scopeDescription, scopeLabel } from "../users/token-scopes";

/** Formats a typed code as ABCD-EFGH. */
export function tidyCode(text: string): string {
  const letters = text
    .toUpperCase()
    .replace(/[^A-Z0-9]/g, "")
    .slice(0, 8);
  return letters.length > 4 ? `${letters.slice(0, 4)}-${letters.slice(4)}` : letters;
}

export function DevicePage() {
  const [code, setCode] = useState(() =>
    tidyCode(new URLSearchParams(window.location.search).get("code") ?? consumeFragment()),
  );
  const [device, setDevice] = useState<DeviceInfo | null>(null);
  const [answer, setAnswer] = useState<"approved" | "denied" | null>(null);
  const look = useSubmission(async () => setDevice(await authApi.getDeviceLogin(code)));
  const [approve, setApprove] = useState(true);
  const decide = useSubmission(async () => {
    await authApi.decideDeviceLogin(code, approve);
    setAnswer(approve ? "approved" : "denied");
  });
  if (answer) {
    return (
      <CardPage
        title={answer === "approved" ? "Signed in" : "Denied"}
        lead={
          answer === "approved"
            ? "The program is signed in. You can close this page."
            : "The program was not signed in. You can close this page."
        }
      />
    );
  }
  if (device) {
    return (
      <CardPage
        title={`Sign in “${device.client_name}”?`}
        lead="Approve only if you started this sign-in yourself."
      >
        <form className="form" onSubmit={decide.submit}>
          <p>
            Code <code>{code}</code>, requested <RelativeTime at={device.requested_at} />.
          </p>
          <p>
            {scopeLabel(device.scope)}: {scopeDescription(device.scope)}.
          </p>
          <FormError error={decide.error} />
          <button className="button primary wide" disabled={decide.busy} onClick={() => setApprove(true)}>
            Approve
          </button>
          <button className="button wide" disabled={decide.busy} onClick={() => setApprove(false)}>
            Deny
          </button>
        </form>
      </CardPage>
    );
  }
  return (
    <CardPage title="Sign in to a device" lead="Enter the code that the program shows.">
      <form className="form" onSubmit={look.submit}>
        <Field
          label="Code"
          autoFocus
          required
          autoComplete="off"
          spellCheck={false}
          placeholder="ABCD-EFGH"
          pattern="[A-Z0-9]{4}-[A-Z0-9]{4}"
          value={code}
          onChange={(event) => setCode(tidyCode(event.target.value))}
        />
        <FormError error={look.error} />
        <button className="button primary wide" disabled={look.busy}>
          Continue
        </button>
      </form>
    </CardPage>
  );
}
