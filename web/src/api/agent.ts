// Short names for the types of the agent's API and of its WebSocket messages. Their texts come from
// a guest: they are shown, never parsed as markup.
import type { components } from "./schema";

type Schemas = components["schemas"];
export type EntryKind = Schemas["EntryKind"];
export type Entry = Schemas["FileEntry"];
export type Listing = Schemas["DirectoryListing"];
export type FoundFiles = Schemas["FoundFiles"];
export type SearchEvent = Schemas["SearchEvent"];
export type TextMatch = Schemas["TextMatch"];
export type LineEdit = Schemas["LineEdit"];
export type EditedDocument = Schemas["EditedDocument"];
export type Changed = Schemas["DirectoryChanges"];
export type Size = Schemas["TerminalSize"];
export type Exit = Schemas["ExitStatus"];
export type TerminalInfo = Schemas["TerminalInfo"];
export type TerminalList = Schemas["TerminalList"];
export type AttachInfo = Schemas["AttachInfo"];
export type RefusalReason = Schemas["RefusalReason"];
export type DocumentEvent = Schemas["DocumentEvent"];
