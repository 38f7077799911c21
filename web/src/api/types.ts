// Short names for the API's types. No other module imports schema.ts.
import type { components } from "./schema";

type Schemas = components["schemas"];
export type Workspace = Schemas["Workspace"];
export type Phase = Schemas["Phase"];
export type Step = Schemas["Step"];
export type StepProgress = Schemas["StepProgress"];
export type HomeNotice = Schemas["HomeNotice"];
export type Origin = Schemas["Origin"];
export type Snapshot = Schemas["Snapshot"];
export type SnapshotList = Schemas["SnapshotList"];
export type SnapshotDirectory = Schemas["Directory"];
export type Change = Schemas["Change"];
export type ChangeKind = Schemas["ChangeKind"];
export type Changes = Schemas["Changes"];
export type SnapshotEntry = Schemas["SnapshotEntry"];
export type ScrubReport = Schemas["ScrubReport"];
export type Retention = Schemas["Retention"];
export type Fork = Schemas["Fork"];
export type Template = Schemas["Template"];
export type User = Schemas["User"];
export type Session = Schemas["Session"];
export type DeviceInfo = Schemas["DeviceInfo"];
export type TokenInfo = Schemas["TokenInfo"];
export type TokenSecret = Schemas["TokenSecret"];
export type Class = Schemas["Class"];
export type ClassSummary = Schemas["ClassSummary"];
export type Member = Schemas["Member"];
export type RosterResult = Schemas["RosterResult"];
export type RowError = Schemas["RowError"];
export type InvitationLink = Schemas["InvitationLink"];
export type ClassAction = Schemas["ClassAction"];
export type Invitation = Schemas["Invitation"];
export type FieldError = Schemas["FieldError"];
/** The server's problems, plus the one that only the client can see. */
export type Problem = Omit<Schemas["Problem"], "code"> & { code: Schemas["Problem"]["code"] | "unreachable" };
