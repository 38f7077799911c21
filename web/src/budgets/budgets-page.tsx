// Budgets with what is used of them: the organisation's and the user's own; for owners all, with Edit.
import { useEffect, useState } from "react";
import { budgetsApi } from "../api/endpoints";
import type { Budget, BudgetItem, BudgetResource } from "../api/types";
import { PageFrame } from "../app/page-frame";
import { canManage, useUser } from "../auth/session";
import { Failure } from "../ui/failure";
import { BudgetDialog } from "./budget-dialog";
import { resourceLabel, toneOf, usageText } from "./budget-model";
import "./budgets.css";

type Budgets =
  { state: "loading" } | { state: "failed"; error: unknown } | { state: "loaded"; list: Budget[] };

/** What the table of classes and users shows. */
const shown: BudgetResource[] = ["running", "vcpus", "memory", "homes"];

export default function BudgetsPage() {
  const user = useUser();
  const [budgets, setBudgets] = useState<Budgets>({ state: "loading" });
  const [edited, setEdited] = useState<Budget | null>(null);
  const [attempt, setAttempt] = useState(0);
  useEffect(() => {
    const controller = new AbortController();
    budgetsApi.list(controller.signal).then(
      (list) => setBudgets({ state: "loaded", list }),
      (error: unknown) => {
        if (!controller.signal.aborted) setBudgets({ state: "failed", error });
      },
    );
    return () => controller.abort();
  }, [attempt]);
  const mayEdit = canManage(user);
  return (
    <PageFrame title="Budgets">
      <div className="page-head">
        <div>
          <h1>Budgets</h1>
          <p className="soft">What workspaces may use together, and what they use now.</p>
        </div>
        <div className="actions">
          <button className="button" onClick={() => setAttempt((attempt) => attempt + 1)}>
            Refresh
          </button>
        </div>
      </div>
      {budgets.state === "failed" && (
        <Failure error={budgets.error} onRetry={() => setAttempt((attempt) => attempt + 1)} />
      )}
      {budgets.state === "loading" && (
        <div className="panel budgets-skeleton" aria-busy="true">
          <div className="skeleton" />
        </div>
      )}
      {budgets.state === "loaded" && (
        <>
          <div className="budgets-pair">
            {budgets.list
              .filter(({ level, id }) => level === "tenant" || id === user.id)
              .map((budget) => (
                <BudgetPanel
                  key={budget.id}
                  budget={budget}
                  title={budget.level === "tenant" ? `Everyone in ${budget.name}` : "You"}
                />
              ))}
          </div>
          <BudgetTable
            title="Classes"
            budgets={budgets.list.filter(({ level }) => level === "class")}
            onEdit={mayEdit ? setEdited : null}
          />
          {mayEdit && (
            <BudgetTable
              title="Users"
              budgets={budgets.list.filter(({ level }) => level === "user")}
              onEdit={setEdited}
            />
          )}
        </>
      )}
      {edited && (
        <BudgetDialog
          budget={edited}
          onSaved={(saved) =>
            setBudgets((budgets) =>
              budgets.state === "loaded"
                ? { ...budgets, list: budgets.list.map((old) => (old.id === saved.id ? saved : old)) }
                : budgets,
            )
          }
          onClose={() => setEdited(null)}
        />
      )}
    </PageFrame>
  );
}

function BudgetPanel({ budget, title }: { budget: Budget; title: string }) {
  return (
    <section className="panel budget-panel" aria-label={`Budget of ${title}`}>
      <h2>{title}</h2>
      <dl>
        {budget.items.map((item) => (
          <div key={item.resource} className="budget-item" data-tone={toneOf(item)}>
            <dt>{resourceLabel(item.resource)}</dt>
            <dd>
              <span>
                {usageText(item)}
                {toneOf(item) === "full" && <span className="budget-full"> Used up</span>}
              </span>
              <Meter item={item} />
            </dd>
          </div>
        ))}
      </dl>
    </section>
  );
}

function Meter({ item }: { item: BudgetItem }) {
  if (item.limit == null) return null;
  return (
    <meter
      aria-label={`${resourceLabel(item.resource)} in use`}
      min={0}
      max={Math.max(item.limit, 1)}
      high={item.limit * 0.8}
      value={Math.min(item.used, item.limit)}
    >
      {usageText(item)}
    </meter>
  );
}

interface BudgetTableProps {
  title: string;
  budgets: Budget[];
  onEdit: ((budget: Budget) => void) | null;
}

function BudgetTable({ title, budgets, onEdit }: BudgetTableProps) {
  if (budgets.length === 0) return null;
  return (
    <section className="budgets-section">
      <h2>{title}</h2>
      <div className="panel budgets-table">
        <table className="table">
          <thead>
            <tr>
              <th scope="col">Name</th>
              {shown.map((resource) => (
                <th key={resource} scope="col" className={resource === "running" ? undefined : "wide-only"}>
                  {resourceLabel(resource)}
                </th>
              ))}
              <th>
                <span className="hidden-text">Edit</span>
              </th>
            </tr>
          </thead>
          <tbody>
            {budgets.map((budget) => (
              <tr key={budget.id}>
                <th scope="row">{budget.name}</th>
                {shown.map((resource) => {
                  const item = budget.items.find((item) => item.resource === resource);
                  return (
                    <td
                      key={resource}
                      className={resource === "running" ? undefined : "wide-only"}
                      data-tone={item && toneOf(item)}
                    >
                      {item && usageText(item)}
                    </td>
                  );
                })}
                <td className="end">
                  {onEdit && (
                    <button
                      className="link-button"
                      aria-label={`Edit the budget of ${budget.name}`}
                      onClick={() => onEdit(budget)}
                    >
                      Edit
                    </button>
                  )}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}
