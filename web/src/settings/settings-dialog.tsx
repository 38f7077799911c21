// The settings of the workbench: for the user, and for the workspace that is shown.
import { useId, useState } from "react";
import {
  preferenceIn,
  preferencesOf,
  setPreference,
  usePreferences,
  type PreferenceName,
  type Preferences,
  type PreferenceScope,
} from "../ui/preferences";
import { Dialog } from "../ui/dialog";
import { SegmentedControl } from "../ui/segmented-control";
import { findSettings, wordOf, type SettingRow } from "./setting-rows";
import "./settings-dialog.css";

interface Props {
  /** The name of the workspace that is shown, if its settings can be changed. */
  workspace: string | null;
  onClose: () => void;
}

export function SettingsDialog({ workspace, onClose }: Props) {
  const [query, setQuery] = useState("");
  const [scope, setScope] = useState<PreferenceScope>("user");
  // Any change draws the list again.
  usePreferences();
  const groups = findSettings(query);
  return (
    <Dialog title="Settings" wide onClose={onClose}>
      <div className="settings-head">
        <input
          className="input"
          type="search"
          aria-label="Find a setting"
          placeholder="Find a setting"
          value={query}
          onChange={(event) => setQuery(event.target.value)}
        />
        {workspace !== null && (
          <SegmentedControl
            label="Settings of"
            options={[
              ["user", "You"],
              ["workspace", "This workspace"],
            ]}
            value={scope}
            onChange={setScope}
          />
        )}
      </div>
      <p className="soft small" role="status">
        {scope === "user"
          ? "In all your workspaces and browsers."
          : `Only in ${workspace}. What is not set here is as in your settings.`}
      </p>
      {groups.map(({ group, rows }) => (
        <section key={group} className="settings-group" aria-label={group}>
          <h3>{group}</h3>
          {rows.map((row) => (
            <Row key={row.name} row={row} scope={scope} />
          ))}
        </section>
      ))}
      {groups.length === 0 && <p className="soft">No setting has these words.</p>}
    </Dialog>
  );
}

function Row({ row, scope }: { row: SettingRow; scope: PreferenceScope }) {
  const id = useId();
  const { name, label, about } = row;
  const value = preferenceIn(scope)[name];
  const isSet = name in preferencesOf(scope);
  const elsewhere = scope === "user" ? preferencesOf("workspace")[name] : undefined;
  const change = (value: Preferences[PreferenceName]) => setPreference(name, value, scope);
  return (
    <div className="settings-row">
      <div>
        <label htmlFor={id}>{label}</label>
        <p id={`${id}-about`} className="soft small">
          {about}
          {elsewhere !== undefined && ` In this workspace: ${wordOf(row, elsewhere)}.`}
        </p>
      </div>
      <SettingControl id={id} row={row} value={value} onChange={change} />
      <button
        type="button"
        className="link-button"
        aria-label={`Reset ${label}`}
        hidden={!isSet}
        onClick={() => setPreference(name, null, scope)}
      >
        Reset
      </button>
    </div>
  );
}

interface ControlProps {
  id: string;
  row: SettingRow;
  value: Preferences[PreferenceName];
  onChange: (value: Preferences[PreferenceName]) => void;
}

function SettingControl({ id, row: { control }, value, onChange }: ControlProps) {
  const described = { id, "aria-describedby": `${id}-about` };
  if (control.kind === "switch")
    return (
      <input
        {...described}
        type="checkbox"
        role="switch"
        checked={value === true}
        onChange={(event) => onChange(event.target.checked)}
      />
    );
  if (control.kind === "choice")
    return (
      <select
        {...described}
        className="input"
        value={String(value)}
        onChange={(event) => onChange(event.target.value as Preferences[PreferenceName])}
      >
        {control.options.map(([option, word]) => (
          <option key={option} value={option}>
            {word}
          </option>
        ))}
      </select>
    );
  const { min, max, unit } = control;
  return (
    <NumberField {...described} min={min} max={max} unit={unit} value={Number(value)} onChange={onChange} />
  );
}

interface NumberProps {
  id: string;
  "aria-describedby": string;
  min: number;
  max: number;
  unit: string;
  value: number;
  onChange: (value: number) => void;
}

/** A number that is used while it is valid. What is typed stays until the field is left. */
function NumberField({ min, max, unit, value, onChange, ...field }: NumberProps) {
  const [typed, setTyped] = useState<string | null>(null);
  const isValid = (text: string) => /^\d+$/.test(text) && Number(text) >= min && Number(text) <= max;
  return (
    <span className="settings-number">
      <input
        {...field}
        className="input"
        type="number"
        min={min}
        max={max}
        aria-invalid={typed !== null && !isValid(typed) ? true : undefined}
        value={typed ?? value}
        onChange={(event) => {
          setTyped(event.target.value);
          if (isValid(event.target.value)) onChange(Number(event.target.value));
        }}
        onBlur={() => setTyped(null)}
      />
      <span className="soft small">{unit}</span>
    </span>
  );
}
