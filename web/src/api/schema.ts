/**
 * Types of the HTTP API, in the form in which openapi-typescript writes them. Recorded anew from the controller's OpenAPI
 * document by `cargo xtask prepare`; the agent's messages, which are not in that document, are in `agent.ts`.
 */
export interface components {
  schemas: {
    Access: "read" | "write";
    Role: "member" | "teacher" | "owner";
    Phase: "queued" | "provisioning" | "running" | "stopping" | "persisting" | "terminated";
    Step:
      | "queue"
      | "runner"
      | "volume"
      | "network"
      | "machine"
      | "boot"
      | "home"
      | "ready"
      | "freeze"
      | "upload"
      | "commit"
      | "remove";
    StepProgress: { step: components["schemas"]["Step"]; since: string; detail?: string | null };
    Failure: { step: components["schemas"]["Step"]; cause: string; action: string; log?: string[] };
    Resources: { vcpus: number; memory_mib: number; home_mib: number; scratch_mib: number; pids: number };
    Workspace: {
      id: string;
      name: string;
      owner: string;
      owner_name: string;
      template: string;
      resources: components["schemas"]["Resources"];
      class?: string | null;
      phase: components["schemas"]["Phase"];
      access: components["schemas"]["Access"];
      revision: number;
      epoch: number;
      queue_position?: number | null;
      steps: components["schemas"]["StepProgress"][];
      failure?: components["schemas"]["Failure"] | null;
      accelerator?: string | null;
      safe_at?: string | null;
      dirty_bytes?: number | null;
      stored_bytes?: number | null;
      created_at: string;
      last_used_at?: string | null;
    };
    WorkspaceList: { workspaces: components["schemas"]["Workspace"][] };
    NewWorkspace: { name: string; template?: string | null; start?: boolean | null };
    EditWorkspace: { name?: string | null };
    Template: {
      name: string;
      title: string;
      description: string;
      image: string;
      resources: components["schemas"]["Resources"];
    };
    TemplateList: { templates: components["schemas"]["Template"][] };
    User: {
      id: string;
      tenant: string;
      tenant_name: string;
      email: string;
      name: string;
      role: components["schemas"]["Role"];
      has_password: boolean;
      created_at: string;
    };
    EditMe: { name?: string | null; email?: string | null };
    Session: { user: components["schemas"]["User"]; expires_at: string };
    LinkSignIn: { token: string };
    Login: { email: string; password: string };
    SetPassword: { current?: string | null; new: string };
    DeviceInfo: { client_name: string; requested_at: string };
    DeviceApproval: { user_code: string; approve: boolean };
    NewToken: { name: string; days?: number | null };
    TokenInfo: {
      id: string;
      name: string;
      created_at: string;
      expires_at: string;
      last_used_at?: string | null;
    };
    TokenSecret: { info: components["schemas"]["TokenInfo"]; token: string };
    TokenList: { tokens: components["schemas"]["TokenInfo"][] };
    NewClass: { name: string; template?: string | null };
    Class: {
      id: string;
      name: string;
      template: string;
      teacher: string;
      created_at: string;
      members: components["schemas"]["Member"][];
    };
    ClassSummary: {
      id: string;
      name: string;
      template: string;
      members: number;
      running: number;
      created_at: string;
    };
    ClassList: { classes: components["schemas"]["ClassSummary"][] };
    Member: {
      id: string;
      name: string;
      email: string;
      joined: boolean;
      workspace?: components["schemas"]["Workspace"] | null;
    };
    RosterResult: {
      class: components["schemas"]["Class"];
      added: components["schemas"]["AddedMember"][];
      unchanged: number;
      errors: components["schemas"]["RowError"][];
    };
    AddedMember: {
      member: string;
      name: string;
      email: string;
      invitation: components["schemas"]["InvitationLink"];
    };
    InvitationLink: { path: string; expires_at: string };
    RowError: { line: number; row: string; message: string };
    ClassAction: { begun: number; unchanged: number; failed: components["schemas"]["ClassActionError"][] };
    ClassActionError: { member: string; name: string; message: string };
    ViewInvitation: { token: string };
    Invitation: { tenant_name: string; class_name?: string | null; name: string; email: string };
    AcceptInvitation: { token: string; name: string; password: string };
    FieldError: { field: string; message: string };
    Problem: {
      type: string;
      title: string;
      status: number;
      detail: string;
      code: string;
      request_id?: string;
      fields?: components["schemas"]["FieldError"][];
    };
  };
}
