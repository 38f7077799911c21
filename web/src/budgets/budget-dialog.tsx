// A dialog that changes the budget of a user or a class.
import { useState } from "react";
import { budgetsApi } from "../api/endpoints";
import type { Budget, BudgetResource } from "../api/types";
import { FormDialog } from "../ui/form-dialog";
import { toast } from "../ui/toasts";
import { useSubmission } from "../ui/use-submission";
import { amountOf, editOf, inputOf, resourceLabel, unitOf, type LimitInput } from "./budget-model";

interface Props {
  budget: Budget;
  onSaved: (budget: Budget) => void;
  onClose: () => void;
}

type Form = Partial<Record<BudgetResource, LimitInput>>;

export function BudgetDialog({ budget, onSaved, onClose }: Props) {
  const [form, setForm] = useState<Form>(() =>
    Object.fromEntries(budget.items.map((item) => [item.resource, inputOf(item)])),
  );
  const edit = editOf(budget, form);
  const submission = useSubmission(async () => {
    if (!edit) return;
    onSaved(await budgetsApi.change(budget, edit));
    toast("Saved. What runs continues.");
    onClose();
  });
  return (
    <FormDialog
      title={`Budget of ${budget.name}`}
      form={submission}
      action="Save"
      disabled={edit === null}
      onClose={onClose}
    >
      <p className="soft">
        Of all workspaces of this {budget.level} together. The budget of the organisation holds too.
      </p>
      <div className="budget-fields">
        {budget.items.map(({ resource }) => (
          <LimitField
            key={resource}
            resource={resource}
            input={form[resource] ?? { kind: "default", amount: "" }}
            onChange={(input) => setForm((form) => ({ ...form, [resource]: input }))}
          />
        ))}
      </div>
    </FormDialog>
  );
}

interface LimitFieldProps {
  resource: BudgetResource;
  input: LimitInput;
  onChange: (input: LimitInput) => void;
}

function LimitField({ resource, input, onChange }: LimitFieldProps) {
  const label = resourceLabel(resource);
  const unit = unitOf(resource);
  const isWrong = input.kind === "limit" && amountOf(resource, input.amount) === null;
  return (
    <>
      <span id={`budget-${resource}`}>{label}</span>
      <select
        className="input"
        aria-labelledby={`budget-${resource}`}
        value={input.kind}
        onChange={(event) => onChange({ ...input, kind: event.target.value as LimitInput["kind"] })}
      >
        <option value="default">Server default</option>
        <option value="none">No limit</option>
        <option value="limit">Limit</option>
      </select>
      <input
        className="input"
        inputMode="decimal"
        aria-label={`${label}, limit${unit && ` in ${unit}`}`}
        aria-invalid={isWrong || undefined}
        placeholder={unit}
        disabled={input.kind !== "limit"}
        value={input.kind === "limit" ? input.amount : ""}
        onChange={(event) => onChange({ ...input, amount: event.target.value })}
      />
      <span className="soft">{unit}</span>
    </>
  );
}
