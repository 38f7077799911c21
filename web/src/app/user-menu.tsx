// The menu of the signed-in user: account, tokens, theme, sign out.
import { useState } from "react";
import { authApi } from "../api/endpoints";
import { useSession, useUser } from "../auth/session";
import { SettingsDialog } from "../settings/settings-dialog";
import { MenuButton, type MenuEntry } from "../ui/menu";
import { navigate } from "../ui/router";
import { setTheme, useTheme } from "../ui/theme";
import { toastError } from "../ui/toasts";

export function UserMenu() {
  const user = useUser();
  const { setUser } = useSession();
  const theme = useTheme();
  const [isSettings, setSettings] = useState(false);
  const signOut = () => {
    authApi.signOut().then(
      () => {
        setUser(null);
        navigate("/sign-in");
      },
      (error: unknown) => toastError(error, "sign out"),
    );
  };
  const items: MenuEntry[] = [
    { label: "Account", icon: "user", run: () => navigate("/account") },
    { label: "Access tokens", icon: "terminal", run: () => navigate("/tokens") },
    { label: "Settings…", icon: "options", run: () => setSettings(true) },
    "line",
    {
      label: "System theme",
      icon: theme === "system" ? "check" : "screen",
      run: () => setTheme("system"),
    },
    { label: "Light theme", icon: theme === "light" ? "check" : "sun", run: () => setTheme("light") },
    { label: "Dark theme", icon: theme === "dark" ? "check" : "moon", run: () => setTheme("dark") },
    "line",
    { label: "Sign out", run: signOut },
  ];
  const initials = initialsOf(user.name || user.email);
  return (
    <>
      {isSettings && <SettingsDialog workspace={null} onClose={() => setSettings(false)} />}
      <MenuButton
        label={`User menu, ${initials}`}
        className="user-button icon-button"
        items={items}
        head={
          <div className="menu-head">
            <p>{user.name}</p>
            <p className="soft small">{user.email}</p>
          </div>
        }
      >
        <span className="initials" aria-hidden="true">
          {initials}
        </span>
      </MenuButton>
    </>
  );
}

function initialsOf(name: string): string {
  const words = name.trim().split(/\s+/);
  return ((words[0]?.[0] ?? "?") + (words.length > 1 ? (words.at(-1)?.[0] ?? "") : "")).toUpperCase();
}
