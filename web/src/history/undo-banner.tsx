// A banner after a restore, with Undo and Dismiss.
import type { ReactNode } from "react";

interface Props {
  children: ReactNode;
  onUndo: () => void;
  onDismiss: () => void;
}

export function UndoBanner({ children, onUndo, onDismiss }: Props) {
  return (
    <div className="thin-banner" role="status">
      {children}
      <button className="link-button" onClick={onUndo}>
        Undo
      </button>
      <button className="link-button" onClick={onDismiss}>
        Dismiss
      </button>
    </div>
  );
}
