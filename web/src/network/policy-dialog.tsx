// A dialog that changes a network policy: of a class, a template or the organisation.
import { useId, useState, type ReactNode } from "react";
import type { NetworkPolicy, NetworkPreset } from "../api/types";
import { FormDialog } from "../ui/form-dialog";
import { SegmentedControl } from "../ui/segmented-control";
import { toast } from "../ui/toasts";
import { useSubmission } from "../ui/use-submission";
import { inputOf, modes, policyOf, presets } from "./policy-model";
import "./network.css";

interface Props {
  title: string;
  /** For what the policy holds. */
  about: ReactNode;
  saved: NetworkPolicy;
  save: (policy: NetworkPolicy) => Promise<void>;
  onClose: () => void;
}

export function PolicyDialog({ title, about, saved, save, onClose }: Props) {
  const [input, setInput] = useState(() => inputOf(saved));
  const form = useSubmission(async () => {
    await save(policyOf(input));
    toast("Saved. Running workspaces follow within a second.");
    onClose();
  });
  const togglePreset = (preset: NetworkPreset, isOn: boolean) =>
    setInput((input) => {
      const others = input.presets.filter((other) => other !== preset);
      return { ...input, presets: isOn ? [...others, preset] : others };
    });
  return (
    <FormDialog title={title} form={form} action="Save" onClose={onClose}>
      <div className="soft">{about}</div>
      <SegmentedControl
        label="Workspaces may connect to"
        options={modes}
        value={input.mode}
        onChange={(mode) => setInput((input) => ({ ...input, mode }))}
      />
      {input.mode === "allowlist" && (
        <>
          <fieldset className="network-presets">
            <legend>Lists of names</legend>
            {presets.map(([preset, label, content]) => (
              <label key={preset}>
                <input
                  type="checkbox"
                  checked={input.presets.includes(preset)}
                  onChange={(event) => togglePreset(preset, event.target.checked)}
                />{" "}
                {label} <span className="soft small">{content}</span>
              </label>
            ))}
          </fieldset>
          <Names
            value={input.names}
            error={form.field("names")}
            onChange={(names) => setInput((input) => ({ ...input, names }))}
          />
        </>
      )}
    </FormDialog>
  );
}

interface NamesProps {
  value: string;
  error: string | undefined;
  onChange: (names: string) => void;
}

function Names({ value, error, onChange }: NamesProps) {
  const id = useId();
  return (
    <div className="field">
      <label htmlFor={id}>Names</label>
      <textarea
        id={id}
        className="input network-names-input"
        rows={5}
        spellCheck={false}
        autoCapitalize="none"
        value={value}
        aria-invalid={error ? true : undefined}
        aria-describedby={`${id}-about`}
        onChange={(event) => onChange(event.target.value)}
      />
      <p id={`${id}-about`} className={error ? "wrong" : "hint"}>
        {error ?? "One per line, such as example.com or *.example.com, which covers one label."}
      </p>
    </div>
  );
}
