// Dialogs and palettes that Git actions open.
import { useEffect, useState } from "react";
import type { References } from "../api/agent";
import { gitApi } from "../api/endpoints";
import { useUser } from "../auth/session";
import { displayName } from "../files/paths";
import { Dialog } from "../ui/dialog";
import { FormDialog } from "../ui/form-dialog";
import { Field } from "../ui/form-fields";
import { Icon } from "../ui/icons";
import { Palette, type PaletteGroup } from "../ui/palette";
import { rankTexts } from "../ui/commands";
import { toastError } from "../ui/toasts";
import { useSubmission } from "../ui/use-submission";
import { directoryOfUrl } from "./git-model";
import type { GitPrompt, GitRepositories } from "./use-git";
import type { GitActions } from "./use-git-actions";

interface Props {
  git: GitRepositories;
  actions: GitActions;
  /** Shows a repository that was cloned. */
  onCloned: (directory: string) => void;
}

export function GitDialogs({ git, actions, onCloned }: Props) {
  const { dialog } = actions;
  const close = () => actions.open(null);
  return (
    <>
      {dialog?.kind === "clone" && (
        <CloneDialog git={git} actions={actions} onCloned={onCloned} onClose={close} />
      )}
      {(dialog?.kind === "branches" || dialog?.kind === "merge" || dialog?.kind === "delete-branch") && (
        <BranchPalette key={dialog.kind} kind={dialog.kind} git={git} actions={actions} onClose={close} />
      )}
      {dialog?.kind === "stashes" && <StashPalette git={git} actions={actions} onClose={close} />}
      {dialog?.kind === "new-branch" && (
        <NameDialog
          title="Create branch"
          action="Create branch"
          label="Name"
          onDone={(name) =>
            actions.perform({ type: "create_branch", name }, "Create branch", `Switched to ${name}`)
          }
          onClose={close}
        />
      )}
      {dialog?.kind === "rename-branch" && (
        <NameDialog
          title="Rename branch"
          action="Rename branch"
          label="Name"
          initial={git.status?.branch ?? ""}
          onDone={(name) => actions.perform({ type: "rename_branch", name }, "Rename branch")}
          onClose={close}
        />
      )}
      {dialog?.kind === "new-tag" && (
        <NameDialog
          title="Create tag"
          action="Create tag"
          label="Name"
          onDone={(name) =>
            actions.perform({ type: "create_tag", name, message: "" }, "Create tag", "Tag created")
          }
          onClose={close}
        />
      )}
      {dialog?.kind === "add-remote" && <RemoteDialog actions={actions} onClose={close} />}
      {dialog?.kind === "identity" && (
        <IdentityDialog actions={actions} retry={dialog.retry} onClose={close} />
      )}
      {dialog?.kind === "diverged" && <DivergedDialog actions={actions} onClose={close} />}
      {dialog?.kind === "output" && (
        <Dialog title="Output of Git" wide onClose={close}>
          <div className="form">
            <pre className="git-output" tabIndex={0}>
              {displayName(dialog.text.trim()).replaceAll("␤", "\n")}
            </pre>
            <div className="form-actions">
              <button className="button" onClick={close}>
                Close
              </button>
            </div>
          </div>
        </Dialog>
      )}
      {git.prompt && <PromptDialog key={git.prompt.prompt} prompt={git.prompt} onAnswer={git.answer} />}
    </>
  );
}

function CloneDialog(props: Props & { onClose: () => void }) {
  const { git, actions, onCloned, onClose } = props;
  const [url, setUrl] = useState("");
  const [directory, setDirectory] = useState<string | null>(null);
  const target = directory ?? directoryOfUrl(url);
  const form = useSubmission(async () => {
    // Prompts come above the page, not above this dialog. Failures have toasts.
    onClose();
    if (await actions.perform({ type: "clone", url: url.trim() }, "Clone", `Cloned into ${target}`, target)) {
      git.refresh();
      onCloned(target);
    }
  });
  return (
    <FormDialog
      title="Clone repository"
      form={form}
      action="Clone"
      disabled={url.trim() === "" || target === ""}
      onClose={onClose}
    >
      <Field
        label="Address"
        placeholder="https://github.com/owner/repository.git"
        hint="You are asked for a user name and a token if the server wants them."
        spellCheck={false}
        autoComplete="off"
        required
        value={url}
        onChange={(event) => setUrl(event.target.value)}
      />
      <Field
        label="Folder in the home"
        spellCheck={false}
        autoComplete="off"
        required
        value={target}
        onChange={(event) => setDirectory(event.target.value)}
      />
    </FormDialog>
  );
}

function useReferences({ workspace, repository }: GitRepositories): References | null {
  const [references, setReferences] = useState<References | null>(null);
  useEffect(() => {
    if (repository === null) return;
    let isOver = false;
    gitApi.references(workspace, repository).then(
      (references) => !isOver && setReferences(references),
      (error: unknown) => !isOver && toastError(error, "list the branches"),
    );
    return () => {
      isOver = true;
    };
  }, [workspace, repository]);
  return references;
}

interface PaletteProps {
  git: GitRepositories;
  actions: GitActions;
  onClose: () => void;
}

const paletteTexts = {
  branches: ["Branch", "Switch to a branch or tag, or type the name of a new branch"],
  merge: ["Branch to merge", "Merge a branch into the current one"],
  "delete-branch": ["Branch to delete", "Delete a branch"],
} as const;

function BranchPalette({ kind, git, actions, onClose }: PaletteProps & { kind: keyof typeof paletteTexts }) {
  const [query, setQuery] = useState("");
  const references = useReferences(git);
  const text = query.trim();
  const all = [
    ...(references?.branches ?? []),
    ...(references?.remote_branches ?? []),
    ...(references?.tags ?? []),
  ];
  const [label, placeholder] = paletteTexts[kind];
  const choose = (name: string, isTag: boolean) => {
    if (kind === "merge") void actions.perform({ type: "merge", branch: name }, "Merge", `Merged ${name}`);
    else if (kind === "delete-branch")
      void actions.perform({ type: "delete_branch", name, force: false }, "Delete branch", `Deleted ${name}`);
    else if (isTag)
      void actions.perform({ type: "switch_to_commit", commit: name }, "Switch", `Switched to ${name}`);
    else void actions.perform({ type: "switch", branch: name }, "Switch", `Switched to ${name}`);
  };
  const group = (heading: string, branches: References["branches"], isTag = false): PaletteGroup => ({
    heading,
    items: (text
      ? rankTexts(
          text,
          branches.map(({ name }) => name),
        )
      : branches.slice(0, 100).map(({ name }) => name)
    )
      .flatMap((name) => branches.find((branch) => branch.name === name) ?? [])
      .filter(({ is_head }) => kind === "branches" || !is_head)
      .map(({ name, subject, is_head }) => ({
        id: `${heading} ${name}`,
        content: (
          <>
            <Icon name={is_head ? "check" : "branch"} size={14} />
            <span>{displayName(name)}</span>
            <span className="soft tree-name">{displayName(subject)}</span>
          </>
        ),
        run: () => choose(name, isTag),
      })),
  });
  const isNew = kind === "branches" && text !== "" && !all.some(({ name }) => name === text);
  const groups: PaletteGroup[] = references
    ? [
        group("Branches", references.branches),
        ...(kind === "delete-branch" ? [] : [group("Branches of remotes", references.remote_branches)]),
        ...(kind === "branches" ? [group("Tags", references.tags, true)] : []),
        ...(isNew
          ? [
              {
                heading: "New branch",
                items: [
                  {
                    id: "new",
                    content: `Create branch ${text}`,
                    run: () =>
                      void actions.perform(
                        { type: "create_branch", name: text.replaceAll(" ", "-") },
                        "Create branch",
                        `Switched to ${text.replaceAll(" ", "-")}`,
                      ),
                  },
                ],
              },
            ]
          : []),
      ]
    : [];
  return (
    <Palette
      label={label}
      placeholder={placeholder}
      query={query}
      onQuery={setQuery}
      groups={groups}
      note={references ? "" : "Loading…"}
      onClose={onClose}
    />
  );
}

function StashPalette({ git, actions, onClose }: PaletteProps) {
  const [query, setQuery] = useState("");
  const references = useReferences(git);
  const stashes = references?.stashes ?? [];
  const found = rankTexts(
    query.trim(),
    stashes.map(({ commit, message }) => `${message} ${commit}`),
  );
  const items = stashes
    .filter(({ commit, message }) => found.includes(`${message} ${commit}`))
    .map(({ commit, message, time }) => ({
      id: commit,
      content: (
        <>
          <span>{displayName(message)}</span>
          <span className="soft tree-name">{new Date(time * 1000).toLocaleString()}</span>
        </>
      ),
      run: () => void actions.perform({ type: "stash_pop", commit }, "Apply stash", "Stash applied"),
    }));
  return (
    <Palette
      label="Stash"
      placeholder="Apply a stash and remove it"
      query={query}
      onQuery={setQuery}
      groups={[{ heading: "Stashes", items }]}
      note={references ? "" : "Loading…"}
      onClose={onClose}
    />
  );
}

function NameDialog(props: {
  title: string;
  action: string;
  label: string;
  initial?: string;
  onDone: (name: string) => Promise<boolean>;
  onClose: () => void;
}) {
  const { title, action, label, initial = "", onDone, onClose } = props;
  const [name, setName] = useState(initial);
  const form = useSubmission(async () => {
    if (await onDone(name.trim())) onClose();
  });
  return (
    <FormDialog title={title} form={form} action={action} disabled={name.trim() === ""} onClose={onClose}>
      <Field
        label={label}
        spellCheck={false}
        autoComplete="off"
        required
        value={name}
        onChange={(event) => setName(event.target.value)}
      />
    </FormDialog>
  );
}

function RemoteDialog({ actions, onClose }: { actions: GitActions; onClose: () => void }) {
  const [name, setName] = useState("origin");
  const [url, setUrl] = useState("");
  const form = useSubmission(async () => {
    const operation = { type: "add_remote", name: name.trim(), url: url.trim() } as const;
    if (await actions.perform(operation, "Add remote", "Remote added")) onClose();
  });
  return (
    <FormDialog
      title="Add remote"
      form={form}
      action="Add remote"
      disabled={name.trim() === "" || url.trim() === ""}
      onClose={onClose}
    >
      <Field label="Name" required value={name} onChange={(event) => setName(event.target.value)} />
      <Field
        label="Address"
        placeholder="https://github.com/owner/repository.git"
        spellCheck={false}
        required
        value={url}
        onChange={(event) => setUrl(event.target.value)}
      />
    </FormDialog>
  );
}

function IdentityDialog(props: { actions: GitActions; retry: () => void; onClose: () => void }) {
  const { actions, retry, onClose } = props;
  const user = useUser();
  const [name, setName] = useState(user.name);
  const [email, setEmail] = useState(user.email);
  const form = useSubmission(async () => {
    const operation = { type: "set_identity", name: name.trim(), email: email.trim() } as const;
    if (!(await actions.perform(operation, "Set author"))) return;
    onClose();
    retry();
  });
  return (
    <FormDialog
      title="Who is the author?"
      form={form}
      action="Save and commit"
      disabled={name.trim() === "" || email.trim() === ""}
      onClose={onClose}
    >
      <p>Git writes a name and an email address into each commit. They are kept in ~/.gitconfig.</p>
      <Field label="Name" required value={name} onChange={(event) => setName(event.target.value)} />
      <Field
        label="Email"
        type="email"
        required
        value={email}
        onChange={(event) => setEmail(event.target.value)}
      />
    </FormDialog>
  );
}

function DivergedDialog({ actions, onClose }: { actions: GitActions; onClose: () => void }) {
  const pull = (strategy: "merge" | "rebase") => {
    onClose();
    actions.pull(strategy);
  };
  return (
    <Dialog title="Both sides have new commits" onClose={onClose}>
      <div className="form">
        <p>Merge adds a commit that joins both. Rebase puts your commits after those of the remote.</p>
        <div className="form-actions">
          <button className="button" onClick={onClose}>
            Cancel
          </button>
          <button className="button" onClick={() => pull("rebase")}>
            Rebase
          </button>
          <button className="button primary" onClick={() => pull("merge")}>
            Merge
          </button>
        </div>
      </div>
    </Dialog>
  );
}

/** What Git or SSH asks for. */
function PromptDialog({
  prompt,
  onAnswer,
}: {
  prompt: GitPrompt;
  onAnswer: (answer: string | null) => void;
}) {
  const [text, setText] = useState("");
  const isConfirmation = prompt.text.includes("(yes/no");
  const form = useSubmission(() => Promise.resolve(onAnswer(isConfirmation ? "yes" : text)));
  return (
    <FormDialog
      title={isConfirmation ? "Is this the right server?" : "Git asks"}
      form={form}
      action={isConfirmation ? "Yes, connect" : "Continue"}
      disabled={!isConfirmation && text === ""}
      onClose={() => onAnswer(null)}
    >
      <p className="git-question">{displayName(prompt.text).replaceAll("␤", "\n")}</p>
      {!isConfirmation && (
        <Field
          label={prompt.is_secret ? "Password or access token" : "User name"}
          type={prompt.is_secret ? "password" : "text"}
          autoComplete="off"
          spellCheck={false}
          hint={
            prompt.is_secret
              ? "Most servers want an access token. It stays in memory until the workspace stops."
              : undefined
          }
          value={text}
          onChange={(event) => setText(event.target.value)}
        />
      )}
    </FormDialog>
  );
}
