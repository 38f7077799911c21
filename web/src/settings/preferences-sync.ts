// Preferences on the server: read when a user signs in or opens a workspace, written when they change.
import { useEffect } from "react";
import { settingsApi } from "../api/endpoints";
import type { Settings } from "../api/types";
import {
  keepPreferencesWith,
  readPreferences,
  replacePreferences,
  type PreferenceName,
  type Preferences,
} from "../ui/preferences";
import { toastError } from "../ui/toasts";

/** The API's name of a preference. */
export function settingName(name: PreferenceName): keyof Settings {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`) as keyof Settings;
}

/** The preferences in settings of the API. */
export function preferencesFrom(settings: Settings): Partial<Preferences> {
  const named = Object.entries(settings).map(([name, value]) => [
    name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase()),
    value,
  ]);
  return readPreferences(Object.fromEntries(named));
}

/** The workspace that is shown. */
let workspace: string | null = null;

keepPreferencesWith((scope, name, value) => {
  const change = { [settingName(name)]: value };
  const kept =
    scope === "user" || workspace === null
      ? settingsApi.changeOfUser(change)
      : settingsApi.changeOfWorkspace(workspace, change);
  kept.catch((error: unknown) => toastError(error, "keep the setting on the server"));
});

/** Reads the preferences of the signed-in user. */
export function useUserPreferences(userId: string | undefined): void {
  useEffect(() => {
    if (userId === undefined) return;
    settingsApi.ofUser().then(
      (settings) => replacePreferences("user", preferencesFrom(settings)),
      (error: unknown) => console.warn("cannot read the settings", error),
    );
  }, [userId]);
}

/** Applies the preferences for a workspace while it is shown. */
export function useWorkspacePreferences(id: string): void {
  useEffect(() => {
    workspace = id;
    settingsApi.ofWorkspace(id).then(
      (settings) => workspace === id && replacePreferences("workspace", preferencesFrom(settings)),
      (error: unknown) => console.warn("cannot read the settings of the workspace", error),
    );
    return () => {
      workspace = null;
      replacePreferences("workspace", {});
    };
  }, [id]);
}
