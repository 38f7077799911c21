// The bar above everything of one workspace: where one is, how it is, and what the page puts beside.
import type { ReactNode } from "react";
import { PersonMenu } from "../app/user-menu";
import { ThemeButton } from "../app/theme-button";
import { Brand } from "../ui/brand";
import { Link } from "../ui/router";

interface Props {
  /** The name of what is shown, after the way there. */
  title: ReactNode;
  /** Beside the title. */
  children?: ReactNode;
  /** At the end of the bar. */
  end?: ReactNode;
}

export function WorkspaceTop({ title, children, end }: Props) {
  return (
    <header className="workspace-top">
      <Brand />
      <h1>
        <span className="soft wide-only">
          <Link href="/">Workspaces</Link> /{" "}
        </span>
        {title}
      </h1>
      {children}
      <span className="spring" />
      {end}
      <ThemeButton />
      <PersonMenu />
    </header>
  );
}
