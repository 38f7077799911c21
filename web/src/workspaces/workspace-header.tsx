// The header of the pages of one workspace: breadcrumb, state, and actions of the page.
import type { ReactNode } from "react";
import { UserMenu } from "../app/user-menu";
import { ThemeButton } from "../app/theme-button";
import { Brand } from "../ui/brand";
import { Link } from "../ui/router";

interface Props {
  /** The last part of the breadcrumb. */
  title: ReactNode;
  /** Next to the title. */
  children?: ReactNode;
  /** At the end of the bar. */
  end?: ReactNode;
}

export function WorkspaceHeader({ title, children, end }: Props) {
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
      <UserMenu />
    </header>
  );
}
