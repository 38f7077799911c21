// The frame of all signed-in pages except the workspace itself: navigation and user menu.
import { useEffect, type ReactNode } from "react";
import { canAudit, canManage, canTeach, useUser } from "../auth/session";
import { TenantKeyNotice } from "../settings/tenant-key-notice";
import { Brand } from "../ui/brand";
import { Link, usePath } from "../ui/router";
import { ThemeButton } from "./theme-button";
import { UserMenu } from "./user-menu";

export function PageFrame({ title, children }: { title: string; children: ReactNode }) {
  const user = useUser();
  useEffect(() => {
    document.title = `${title} · Burrow`;
  }, [title]);
  return (
    <>
      <a className="skip" href="#content">
        Skip to content
      </a>
      <header className="top">
        <Brand />
        <nav aria-label="Pages">
          <NavLink href="/" also="/workspaces">
            Workspaces
          </NavLink>
          {canTeach(user) && <NavLink href="/classes">Classes</NavLink>}
          <NavLink href="/tokens">Tokens</NavLink>
          <NavLink href="/budgets">Budgets</NavLink>
          <NavLink href="/usage">Usage</NavLink>
          {canManage(user) && <NavLink href="/users">Users</NavLink>}
          {canAudit(user) && <NavLink href="/audit">Audit log</NavLink>}
          {canManage(user) && <NavLink href="/settings">Settings</NavLink>}
        </nav>
        <ThemeButton />
        <UserMenu />
      </header>
      <main id="content" className="page" tabIndex={-1}>
        <TenantKeyNotice />
        {children}
      </main>
    </>
  );
}

function NavLink({ href, also, children }: { href: string; also?: string; children: ReactNode }) {
  const path = usePath();
  const here = path === href || path === also || (href !== "/" && path.startsWith(`${href}/`));
  return (
    <Link href={href} aria-current={here ? "page" : undefined}>
      {children}
    </Link>
  );
}
