// The error of a form that was not accepted, with the request id.
import { errorMessage } from "../api/client";
import { RequestId } from "./failure";

export function FormError({ error }: { error: unknown }) {
  if (error === null || error === undefined) return null;
  return (
    <p className="wrong" role="alert">
      {errorMessage(error)} <RequestId error={error} />
    </p>
  );
}
