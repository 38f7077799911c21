// A page that is one card in the middle of the window: sign-in, invitation, not found.
import { type ReactNode } from "react";
import { Brand } from "./brand";

export function CardPage({
  title,
  lead,
  children,
}: {
  title: string;
  lead?: ReactNode;
  children?: ReactNode;
}) {
  return (
    <main className="gate">
      <div className="panel gate-card">
        <Brand />
        <h1>{title}</h1>
        {lead && <p className="lead">{lead}</p>}
        {children}
      </div>
    </main>
  );
}
