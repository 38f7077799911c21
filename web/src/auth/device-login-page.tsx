// Approving a program's sign-in (RFC 8628): the person types or confirms the code that the program shows.
import { useState } from "react";
import { auth } from "../api/endpoints";
import type { DeviceInfo } from "../api/types";
import { Field } from "../ui/form-fields";
import { Moment } from "../ui/time";
import { takeFragment } from "../ui/router";
import { FormError } from "../ui/form-error";
import { Gate } from "../ui/card-page";
import { useSubmission } from "../ui/use-submission";

/** Eight letters as people type them, in the form ABCD-EFGH. */
export function tidyCode(text: string): string {
  const letters = text
    .toUpperCase()
    .replace(/[^A-Z0-9]/g, "")
    .slice(0, 8);
  return letters.length > 4 ? `${letters.slice(0, 4)}-${letters.slice(4)}` : letters;
}

export function DevicePage() {
  const [code, setCode] = useState(() =>
    tidyCode(new URLSearchParams(window.location.search).get("code") ?? takeFragment()),
  );
  const [device, setDevice] = useState<DeviceInfo | null>(null);
  const [answer, setAnswer] = useState<"approved" | "refused" | null>(null);
  const look = useSubmission(async () => setDevice(await auth.device(code)));
  const [approve, setApprove] = useState(true);
  const decide = useSubmission(async () => {
    await auth.answerDevice(code, approve);
    setAnswer(approve ? "approved" : "refused");
  });
  if (answer) {
    return (
      <Gate
        title={answer === "approved" ? "Signed in" : "Refused"}
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
      <Gate
        title={`Sign in “${device.client_name}”?`}
        lead="Approve only if you have just started it yourself."
      >
        <form className="form" onSubmit={decide.submit}>
          <p>
            Code <code>{code}</code>, asked for <Moment at={device.requested_at} />.
          </p>
          <FormError error={decide.error} />
          <button className="button primary wide" disabled={decide.busy} onClick={() => setApprove(true)}>
            Approve
          </button>
          <button className="button wide" disabled={decide.busy} onClick={() => setApprove(false)}>
            Refuse
          </button>
        </form>
      </Gate>
    );
  }
  return (
    <Gate title="Sign in a program" lead="Type the code that the program shows.">
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
          Go on
        </button>
      </form>
    </Gate>
  );
}
