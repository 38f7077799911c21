// A failure in the place it concerns: what happened, the request id to quote, another try.
import { ApiError, wordsOf } from "../api/client";
import { copyText } from "./toasts";

interface Props {
  error: unknown;
  onRetry?: () => void;
}

export function Failure({ error, onRetry }: Props) {
  const requestId = error instanceof ApiError ? error.requestId : "";
  return (
    <div className="notice bad failure" role="alert">
      <p>{wordsOf(error)}</p>
      {requestId && (
        <p className="soft small">
          Request <code>{requestId}</code>{" "}
          <button className="link-button" onClick={() => void copyText(requestId, "Request id")}>
            Copy
          </button>
        </p>
      )}
      {onRetry && (
        <button className="button" onClick={onRetry}>
          Try again
        </button>
      )}
    </div>
  );
}
