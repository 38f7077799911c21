// The icon of a file, by the type that its name tells.
import {
  Braces,
  File,
  FileArchive,
  FileCode2,
  FileCog,
  FileImage,
  FileLock2,
  FileTerminal,
  FileText,
  FileVideo2,
  FileSpreadsheet,
  GitBranch,
  type LucideIcon,
} from "lucide-react";

interface FileType {
  icon: LucideIcon;
  /** Suffix of the class that colours the icon. */
  tone: "plain" | "blue" | "yellow" | "green" | "red" | "purple" | "teal";
}

const code = (tone: FileType["tone"]): FileType => ({ icon: FileCode2, tone });
const PLAIN: FileType = { icon: File, tone: "plain" };
const TEXT: FileType = { icon: FileText, tone: "blue" };
const SETTINGS: FileType = { icon: FileCog, tone: "plain" };
const IMAGE: FileType = { icon: FileImage, tone: "purple" };
const ARCHIVE: FileType = { icon: FileArchive, tone: "plain" };
const MEDIA: FileType = { icon: FileVideo2, tone: "purple" };
const SHELL: FileType = { icon: FileTerminal, tone: "green" };
const GIT: FileType = { icon: GitBranch, tone: "red" };
const LOCK: FileType = { icon: FileLock2, tone: "plain" };

const byName: Readonly<Record<string, FileType>> = {
  ".gitignore": GIT,
  ".gitattributes": GIT,
  ".gitmodules": GIT,
  ".bashrc": SHELL,
  ".profile": SHELL,
  makefile: SETTINGS,
  dockerfile: { icon: FileCog, tone: "blue" },
  "package-lock.json": LOCK,
};

const byExtension: Readonly<Record<string, FileType>> = {
  py: code("blue"),
  ipynb: code("yellow"),
  rs: code("red"),
  go: code("teal"),
  c: code("blue"),
  h: code("purple"),
  cpp: code("blue"),
  cc: code("blue"),
  hpp: code("purple"),
  java: code("red"),
  kt: code("purple"),
  js: code("yellow"),
  mjs: code("yellow"),
  cjs: code("yellow"),
  jsx: code("yellow"),
  ts: code("blue"),
  tsx: code("blue"),
  html: code("red"),
  css: code("purple"),
  scss: code("purple"),
  rb: code("red"),
  php: code("purple"),
  sql: code("teal"),
  sh: SHELL,
  bash: SHELL,
  json: { icon: Braces, tone: "yellow" },
  yaml: SETTINGS,
  yml: SETTINGS,
  toml: SETTINGS,
  ini: SETTINGS,
  cfg: SETTINGS,
  conf: SETTINGS,
  env: SETTINGS,
  lock: LOCK,
  pem: LOCK,
  md: TEXT,
  txt: { icon: FileText, tone: "plain" },
  log: { icon: FileText, tone: "plain" },
  rst: TEXT,
  pdf: { icon: FileText, tone: "red" },
  csv: { icon: FileSpreadsheet, tone: "green" },
  tsv: { icon: FileSpreadsheet, tone: "green" },
  png: IMAGE,
  jpg: IMAGE,
  jpeg: IMAGE,
  gif: IMAGE,
  svg: IMAGE,
  webp: IMAGE,
  ico: IMAGE,
  zip: ARCHIVE,
  tar: ARCHIVE,
  gz: ARCHIVE,
  xz: ARCHIVE,
  zst: ARCHIVE,
  mp4: MEDIA,
  mp3: MEDIA,
  wav: MEDIA,
};

export function fileTypeOf(name: string): FileType {
  const lower = name.toLowerCase();
  const extension = lower.slice(lower.lastIndexOf(".") + 1);
  const of = <Value,>(table: Readonly<Record<string, Value>>, key: string) =>
    Object.hasOwn(table, key) ? table[key] : undefined;
  return of(byName, lower) ?? (extension === lower ? undefined : of(byExtension, extension)) ?? PLAIN;
}

export function FileIcon({ name, size = 15 }: { name: string; size?: number }) {
  const { icon: Drawing, tone } = fileTypeOf(name);
  return <Drawing aria-hidden="true" className={`file-icon tone-${tone}`} size={size} strokeWidth={1.6} />;
}
