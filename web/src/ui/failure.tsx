// An error shown where it happened, with the request id and a Retry button.
import { ApiError, errorMessage } from "../api/client";
import { copyText } from "./toasts";

interface Props {
  error: unknown;
  onRetry?: () => void;
}

/** The id of the failed request, to quote when asking for help. Renders nothing if there is none. */
export function RequestId({ error }: { error: unknown }) {
  const id = error instanceof ApiError ? error.requestId : "";
  if (!id) return null;
  return (
    <span className="soft small request-id">
      Request <code>{id}</code>{" "}
      <button type="button" className="link-button" onClick={() => void copyText(id, "Request id")}>
        Copy
      </button>
    </span>
  );
}

export function Failure({ error, onRetry }: Props) {
  return (
    <div className="notice bad failure" role="alert">
      <p>{errorMessage(error)}</p>
      <RequestId error={error} />
      {onRetry && (
        <button className="button" onClick={onRetry}>
          Retry
        </button>
      )}
    </div>
  );
}
