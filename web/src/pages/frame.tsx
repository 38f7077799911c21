// The frame of the signed-in pages that are not a workspace: navigation, the person's menu.
import { useEffect, type ReactNode } from "react";
import { auth } from "../api/calls";
import { mayManage, mayTeach, useSession, useUser } from "../session";
import { MenuButton, type MenuEntry } from "../ui/menu";
import { Icon } from "../ui/icons";
import { Brand } from "../ui/parts";
import { Link, navigate, usePath } from "../ui/router";
import { setTheme, useDark, useTheme } from "../ui/theme";
import { toastError } from "../ui/toasts";

export function Frame({ title, children }: { title: string; children: ReactNode }) {
  const user = useUser();
  useEffect(() => {
    document.title = `${title} · Burrow`;
  }, [title]);
  return (
    <>
      <a className="skip" href="#content">
        Skip to the content
      </a>
      <header className="top">
        <Brand />
        <nav aria-label="Pages">
          <NavLink href="/" also="/workspaces">
            Workspaces
          </NavLink>
          {mayTeach(user) && <NavLink href="/classes">Classes</NavLink>}
          <NavLink href="/tokens">Tokens</NavLink>
          {mayManage(user) && <NavLink href="/settings">Settings</NavLink>}
        </nav>
        <ThemeButton />
        <PersonMenu />
      </header>
      <main id="content" className="page" tabIndex={-1}>
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

export function ThemeButton() {
  const dark = useDark();
  const label = dark ? "Light theme" : "Dark theme";
  return (
    <button
      className="icon-button wide-only"
      aria-label={label}
      title={label}
      onClick={() => setTheme(dark ? "light" : "dark")}
    >
      <Icon name={dark ? "sun" : "moon"} />
    </button>
  );
}

export function PersonMenu() {
  const user = useUser();
  const { set } = useSession();
  const theme = useTheme();
  const signOut = () => {
    auth.signOut().then(
      () => {
        set(null);
        navigate("/sign-in");
      },
      (error: unknown) => toastError(error, "Signing out"),
    );
  };
  const items: MenuEntry[] = [
    { label: "Account", icon: "people", run: () => navigate("/account") },
    { label: "Tokens for the CLI", icon: "terminal", run: () => navigate("/tokens") },
    "line",
    {
      label: "Theme of the system",
      icon: theme === "system" ? "check" : "screen",
      run: () => setTheme("system"),
    },
    { label: "Light", icon: theme === "light" ? "check" : "sun", run: () => setTheme("light") },
    { label: "Dark", icon: theme === "dark" ? "check" : "moon", run: () => setTheme("dark") },
    "line",
    { label: "Sign out", run: signOut },
  ];
  return (
    <MenuButton
      label="Your menu"
      className="person-button icon-button"
      items={items}
      head={
        <div className="menu-head">
          <p>{user.name}</p>
          <p className="soft small">{user.email}</p>
        </div>
      }
    >
      <span className="initials" aria-hidden="true">
        {initials(user.name || user.email)}
      </span>
    </MenuButton>
  );
}

function initials(name: string): string {
  const words = name.trim().split(/\s+/);
  return ((words[0]?.[0] ?? "?") + (words.length > 1 ? (words.at(-1)?.[0] ?? "") : "")).toUpperCase();
}
