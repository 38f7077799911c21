// The frame of the pages one sees before being signed in, and the form that they share.
import { type ReactNode } from "react";
import { Brand } from "./brand";

export function Gate({ title, lead, children }: { title: string; lead?: ReactNode; children?: ReactNode }) {
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
