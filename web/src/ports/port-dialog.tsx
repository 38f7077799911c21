// A dialog that says who may see a port, and what it is called.
import { useState } from "react";
import type { EditPort, PortVisibility } from "../api/types";
import { FormDialog } from "../ui/form-dialog";
import { Field } from "../ui/form-fields";
import { SegmentedControl } from "../ui/segmented-control";
import { useSubmission } from "../ui/use-submission";
import type { PortRow } from "./ports-model";

const visibilities: readonly (readonly [PortVisibility, string])[] = [
  ["private", "Private"],
  ["members", "Members"],
  ["public", "Public"],
];
const meanings: Record<PortVisibility, string> = {
  private: "Only you can see this port.",
  members: "All signed-in members of your organisation can see this port.",
  public: "Everybody who knows the address can see this port, without signing in.",
};
const hours: readonly (readonly [string, string])[] = [
  ["1", "1 hour"],
  ["8", "8 hours"],
  ["168", "7 days"],
];

interface Props {
  row: PortRow;
  save: (port: number, settings: EditPort) => Promise<void>;
  onClose: () => void;
}

export function PortDialog({ row, save, onClose }: Props) {
  const [visibility, setVisibility] = useState(row.visibility);
  const [duration, setDuration] = useState("8");
  const [label, setLabel] = useState(row.label);
  const form = useSubmission(async () => {
    const public_hours = visibility === "public" ? Number(duration) : null;
    await save(row.port, { visibility, public_hours, label });
    onClose();
  });
  return (
    <FormDialog title={`Port ${row.port}`} form={form} action="Save" onClose={onClose}>
      <Field
        label="Label"
        value={label}
        maxLength={60}
        error={form.field("label")}
        onChange={(event) => setLabel(event.target.value)}
      />
      <SegmentedControl
        label="Visibility"
        options={visibilities}
        value={visibility}
        onChange={setVisibility}
      />
      <p className="soft">{meanings[visibility]}</p>
      {visibility === "public" && (
        <SegmentedControl label="Public for" options={hours} value={duration} onChange={setDuration} />
      )}
    </FormDialog>
  );
}
