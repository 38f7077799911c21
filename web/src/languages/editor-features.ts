// Everything that a language server adds to the editor of a file. Loaded when the first file is open.
import type { Extension } from "@codemirror/state";
import { languageCompletion } from "./completion";
import { languageDiagnostics } from "./diagnostics";
import type { FileLanguage } from "./file-language";
import { languageHover } from "./hover";
import { languageNavigation } from "./navigation";
import { languageSignature } from "./signature";

export const languageFeatures = (file: FileLanguage, readOnly: boolean): Extension => [
  languageDiagnostics(file),
  languageHover(file),
  languageNavigation(file),
  ...(readOnly ? [] : [languageCompletion(file), languageSignature(file)]),
];
