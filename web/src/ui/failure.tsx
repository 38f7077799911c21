// A failure in the place it concerns: what happened, the request id to quote, another try.
import { ApiError, wordsOf } from "../api/client";
import { copyText } from "./toasts";

interface Props {
  error: unknown;
  onRetry?: () => void;
}

/** What to quote when asking for help; nothing where there is nothing to quote. */
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
      <p>{wordsOf(error)}</p>
      <RequestId error={error} />
      {onRetry && (
        <button className="button" onClick={onRetry}>
          Try again
        </button>
      )}
    </div>
  );
}
