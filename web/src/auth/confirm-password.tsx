// Asks for the password when the server wants to know that it is still the user who acts. The request
// that was refused is sent again afterwards.
import { useEffect, useState } from "react";
import { onConfirmationRequired } from "../api/client";
import { authApi } from "../api/endpoints";
import { Dialog } from "../ui/dialog";
import { Field } from "../ui/form-fields";
import { FormDialog } from "../ui/form-dialog";
import { useSubmission } from "../ui/use-submission";
import { useSession } from "./session";

type Answer = (isConfirmed: boolean) => void;

export function ConfirmPassword() {
  const { user } = useSession();
  const [answers, setAnswers] = useState<Answer[]>([]);
  useEffect(() => {
    onConfirmationRequired(
      () => new Promise<boolean>((resolve) => setAnswers((waiting) => [...waiting, resolve])),
    );
    return () => onConfirmationRequired(() => Promise.resolve(false));
  }, []);
  if (!user || answers.length === 0) return null;
  const finish = (isConfirmed: boolean) => {
    setAnswers([]);
    for (const answer of answers) answer(isConfirmed);
  };
  return user.has_password ? <PasswordDialog onFinish={finish} /> : <NoPasswordDialog onFinish={finish} />;
}

function PasswordDialog({ onFinish }: { onFinish: Answer }) {
  const [password, setPassword] = useState("");
  const form = useSubmission(async () => {
    await authApi.confirmPassword(password);
    onFinish(true);
  });
  return (
    <FormDialog title="Confirm your password" form={form} action="Confirm" onClose={() => onFinish(false)}>
      <p>This change needs your password. You are not asked again for 15 minutes.</p>
      <Field
        label="Password"
        type="password"
        autoComplete="current-password"
        required
        value={password}
        onChange={(event) => setPassword(event.target.value)}
      />
    </FormDialog>
  );
}

function NoPasswordDialog({ onFinish }: { onFinish: Answer }) {
  return (
    <Dialog title="Confirm that it is you" onClose={() => onFinish(false)}>
      <div className="form">
        <p>
          This change needs a recent sign-in, and you have no password. Set a password on the Account page and
          try again, or sign in again with a new link.
        </p>
        <div className="form-actions">
          <button className="button primary" onClick={() => onFinish(false)}>
            Close
          </button>
        </div>
      </div>
    </Dialog>
  );
}
